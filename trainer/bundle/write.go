package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/learn"
)

// The files of every bundle. The manifest lists the last three and those that
// the writer adds.
const (
	ManifestName  = "manifest.json"
	SignatureName = "manifest.sig"
	GoldenName    = "golden.json"
	TransformName = "transform.json"
	WeightsName   = "weights.bin"
)

const (
	tempPrefix = ".tmp-"

	// tempAge is when a temporary folder is taken to be one of a writer that
	// died: a write takes seconds.
	tempAge = 24 * time.Hour
)

// ErrInTheWay is wrapped by the error of Write where the folder of the bundle is
// there and was damaged. It says nothing against what was to be written.
var ErrInTheWay = errors.New("is there already, and does not open")

// Contents is what a bundle is made of.
type Contents struct {
	Manifest  Manifest // Format, Set and Files are set by Write, and so is KindName of its inputs
	Transform *Transform
	Model     learn.Model
	Extra     map[string][]byte  // more files, as profile.json
	Golden    [][]features.Value // vectors whose scores whoever opens the bundle must get
}

// Write writes a bundle to dir/<id>, all of it or nothing, and returns its id.
// The same contents have the same files and the same id on each machine. It
// opens what it has written before it gives it its name, so what Write takes
// Open takes. A bundle that is there already stays; only its signature becomes
// key's.
func Write(dir string, c *Contents, key ed25519.PrivateKey) (id string, err error) {
	if len(key) != ed25519.PrivateKeySize {
		return "", fmt.Errorf("bundle: a key of %d bytes; an ed25519 key has %d", len(key), ed25519.PrivateKeySize)
	}
	files, err := c.files()
	if err != nil {
		return "", err
	}
	manifest, err := c.manifest(files)
	if err != nil {
		return "", err
	}
	files[ManifestName] = manifest
	if files[SignatureName], err = sign(manifest, key); err != nil {
		return "", err
	}
	sum := sha256.Sum256(manifest)
	id = hex.EncodeToString(sum[:])
	if err := publish(dir, id, files, key.Public().(ed25519.PublicKey)); err != nil {
		return "", fmt.Errorf("bundle: writing %s: %w", short(id), err)
	}
	return id, nil
}

// files returns the files that the manifest lists.
func (c *Contents) files() (map[string][]byte, error) {
	m := &c.Manifest
	if err := CheckInputs(m.Inputs); err != nil {
		return nil, err
	}
	if err := c.Transform.fits(m.Inputs); err != nil {
		return nil, fmt.Errorf("bundle: the transform is not that of the inputs: %w", err)
	}
	files := make(map[string][]byte)
	for name, data := range c.Extra {
		if !extraName(name) {
			return nil, fmt.Errorf("bundle: file %q: a name has lower-case letters, digits, and the characters . - _ between them, at most %d, and is none of the bundle's own", name, maxFileName)
		}
		files[name] = data
	}
	scorer := scorer{task: m.Task, transform: c.Transform, model: c.Model}
	var err error
	if files[GoldenName], err = encodeGolden(c.Golden, m.Inputs, scorer.Score); err != nil {
		return nil, err
	}
	if files[TransformName], err = c.Transform.encode(); err != nil {
		return nil, fmt.Errorf("bundle: %s: %w", TransformName, err)
	}
	if files[WeightsName], err = c.Model.AppendBinary(nil); err != nil {
		return nil, fmt.Errorf("bundle: %s: %w", WeightsName, err)
	}
	return files, nil
}

// manifest returns manifest.json over the files. Lists that are empty and lists
// that are not there are the same to it.
func (c *Contents) manifest(files map[string][]byte) ([]byte, error) {
	m := c.Manifest
	m.Format, m.Files = formatVersion, nil
	m.Inputs = slices.Clone(m.Inputs)
	for i := range m.Inputs {
		m.Inputs[i].KindName = m.Inputs[i].Kind.String()
	}
	if set := SetID(m.Inputs); m.Set != "" && m.Set != set {
		return nil, fmt.Errorf("bundle: the manifest says set %s, and its inputs are %s", m.Set, set)
	} else {
		m.Set = set
	}
	if m.Data.Ranges == nil {
		m.Data.Ranges = []Range{}
	}
	for name, data := range files {
		sum := sha256.Sum256(data)
		m.Files = append(m.Files, File{name, int64(len(data)), hex.EncodeToString(sum[:])})
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	data, err := encodeJSON(m)
	if err != nil {
		return nil, fmt.Errorf("bundle: %s: %w", ManifestName, err)
	}
	return data, nil
}

// extraName reports whether a writer may add a file of that name.
func extraName(name string) bool {
	plain := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' }
	if name == "" || len(name) > maxFileName || !plain(rune(name[0])) || !plain(rune(name[len(name)-1])) {
		return false
	}
	for _, r := range name {
		if !plain(r) && !strings.ContainsRune(".-_", r) {
			return false
		}
	}
	return !slices.Contains([]string{ManifestName, SignatureName, GoldenName, TransformName, WeightsName}, name)
}

// publish makes files the bundle dir/id.
func publish(dir, id string, files map[string][]byte, trusted ed25519.PublicKey) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := sweep(dir); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }() // what stays is swept later
	for name, data := range files {
		if err := writeSynced(filepath.Join(temp, name), data); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chmod(temp, 0o755), syncFolder(temp)); err != nil { // not MkdirTemp's 0700: a server may be another user
		return err
	}
	if _, err := openFolder(temp, id, []ed25519.PublicKey{trusted}); err != nil {
		return fmt.Errorf("what was written does not open: %w", err)
	}
	if err := install(temp, dir, id, trusted); err != nil {
		return err
	}
	return syncFolder(dir)
}

// install gives a prepared folder its name. Where the bundle is there already,
// it gets the new signature alone, and must open with it.
func install(temp, dir, id string, trusted ed25519.PublicKey) error {
	final := filepath.Join(dir, id)
	err := os.Rename(temp, final) // replaces no folder that has files in it
	if err == nil {
		return nil
	}
	if _, missing := os.Stat(final); missing != nil {
		return err
	}
	if err := os.Rename(filepath.Join(temp, SignatureName), filepath.Join(final, SignatureName)); err != nil {
		return err
	}
	if err := syncFolder(final); err != nil {
		return err
	}
	if _, err := openFolder(final, id, []ed25519.PublicKey{trusted}); err != nil {
		return fmt.Errorf("%s %w; remove that folder, and the bundle can be written: %w", final, ErrInTheWay, err)
	}
	return nil
}

// sweep removes what writers that died have left.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), tempPrefix) && time.Since(info.ModTime()) > tempAge {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeSynced writes a file that is not there yet. Nobody changes it later.
func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readFile reads a file of a bundle of at most limit bytes. It takes no link, no
// pipe and no device for one.
func readFile(folder, name string, limit int64) ([]byte, error) {
	path := filepath.Join(folder, name)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes; there may be %d", name, info.Size(), limit)
	}
	return os.ReadFile(path)
}
