package beam

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// sdkModule is what each worker is built with.
const sdkModule = "github.com/apache/beam/sdks/v2"

// machines are the processors of hosts that Flink runs on, by Go's names.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "riscv64": elf.EM_RISCV,
}

// CheckProgram says why the TaskManagers could not start the program at path as
// a worker: it must be for Linux and the given processor, by Go's name, and have
// the same version of the SDK as this program. With an empty processor any will
// do. A script is taken as it is. An error that is fs.ErrNotExist says nothing
// where the TaskManagers are on other hosts.
func CheckProgram(path, processor string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("beam: the worker %q is not an absolute path: the TaskManagers start it, in a folder of theirs", path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("beam: the worker: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("beam: the worker %s is not a file", path)
	case runtime.GOOS != "windows" && info.Mode()&0o111 == 0:
		return fmt.Errorf("beam: the worker %s is not executable: chmod +x %s", path, path)
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("beam: the worker: %w", err)
	}
	defer file.Close()
	start := make([]byte, 4)
	if _, err := io.ReadFull(file, start); err != nil {
		return fmt.Errorf("beam: the worker %s is no program: it has %d bytes", path, info.Size())
	}
	if string(start[:2]) == "#!" {
		return nil
	}
	if err := checkPlatform(path, file, processor); err != nil {
		return err
	}
	return checkBuild(path)
}

func checkPlatform(path string, file io.ReaderAt, processor string) error {
	wanted := processor
	if wanted == "" {
		wanted = runtime.GOARCH
	}
	build := fmt.Sprintf("build one: CGO_ENABLED=0 GOOS=linux GOARCH=%s go build -o millrace-beam-linux ./cmd/millrace-beam, and name it with --worker", wanted)
	header, err := elf.NewFile(file)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) {
			return fmt.Errorf("beam: the worker %s is no program for Linux, on which the TaskManagers run; %s", path, build)
		}
		return fmt.Errorf("beam: the worker %s: %w", path, err)
	}
	defer header.Close()
	if want, known := machines[processor]; known && header.Machine != want {
		return fmt.Errorf("beam: the worker %s is for %v and the cluster's hosts are %s; %s", path, header.Machine, processor, build)
	}
	return nil
}

// checkBuild compares what Go's linker has noted of both programs.
func checkBuild(path string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("beam: the worker %s is no Go program, and so not millrace-beam: %w", path, err)
	}
	return fits(path, info)
}

// fits compares the SDK of a program with that of this one.
func fits(path string, info *buildinfo.BuildInfo) error {
	for _, m := range info.Deps {
		if m.Path != sdkModule {
			continue
		}
		if m.Version != "v"+SDK {
			return fmt.Errorf("beam: the worker %s has version %s of Beam's SDK and this program v%s: build both from the same source", path, m.Version, SDK)
		}
		return nil
	}
	return fmt.Errorf("beam: the worker %s is not millrace-beam: it has no Beam SDK", path)
}
