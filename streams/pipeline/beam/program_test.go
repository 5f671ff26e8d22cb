package beam

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// elfOf returns the header of a program for Linux on a processor.
func elfOf(t *testing.T, machine elf.Machine) []byte {
	t.Helper()
	var out bytes.Buffer
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}
	if err := binary.Write(&out, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestCheckProgram refuses what no TaskManager could start, and says what to do.
func TestCheckProgram(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for what, c := range map[string]struct {
		path, processor string
		texts           []string
	}{
		"relative":       {"bin/millrace-beam", "amd64", []string{"not an absolute path"}},
		"missing":        {filepath.Join(dir, "none"), "amd64", []string{"no such file"}},
		"folder":         {dir, "amd64", []string{"is not a file"}},
		"not executable": {write("a", elfOf(t, elf.EM_X86_64), 0o644), "amd64", []string{"not executable: chmod +x"}},
		"empty":          {write("b", nil, 0o755), "amd64", []string{"it has 0 bytes"}},
		"macOS":          {write("c", append([]byte{0xcf, 0xfa, 0xed, 0xfe}, make([]byte, 60)...), 0o755), "amd64", []string{"no program for Linux", "GOOS=linux GOARCH=amd64", "--worker"}},
		"for arm64":      {write("d", elfOf(t, elf.EM_AARCH64), 0o755), "amd64", []string{"is for EM_AARCH64", "hosts are amd64", "GOOS=linux GOARCH=amd64"}},
		"for amd64":      {write("e", elfOf(t, elf.EM_X86_64), 0o755), "arm64", []string{"hosts are arm64", "GOARCH=arm64"}},
		"not Go":         {write("f", elfOf(t, elf.EM_X86_64), 0o755), "amd64", []string{"no Go program"}},
	} {
		wantError(t, what, CheckProgram(c.path, c.processor), c.texts...)
	}
	if err := CheckProgram(filepath.Join(dir, "none"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing program: %v", err)
	}
	if err := CheckProgram(write("g", []byte("#!/bin/sh\nexec millrace-beam \"$@\"\n"), 0o755), "amd64"); err != nil {
		t.Errorf("a script: %v", err)
	}
}

// TestFits compares what the linker has noted of a program's modules.
func TestFits(t *testing.T) {
	with := func(version string) *buildinfo.BuildInfo {
		return &buildinfo.BuildInfo{Deps: []*debug.Module{{Path: "a.b/c", Version: "v1.0.0"}, {Path: sdkModule, Version: version}}}
	}
	if err := fits("/w", with("v"+SDK)); err != nil {
		t.Error(err)
	}
	wantError(t, "another version", fits("/w", with("v2.60.0")), "has version v2.60.0 of Beam's SDK and this program v"+SDK, "build both from the same source")
	wantError(t, "none", fits("/w", &buildinfo.BuildInfo{}), "is not millrace-beam")
}
