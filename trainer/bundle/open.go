package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/learn"
)

const formatVersion = 1 // of a bundle

// What a bundle may hold. Only the holder of a trusted key can make one, so the
// limits are for accidents and for whoever has come by such a key.
const (
	maxManifest  = 4 << 20   // bytes: 1,024 inputs are 0.5 MiB
	maxSignature = 1 << 10   // bytes: it has 200
	maxWeights   = 512 << 20 // bytes: 2^24 hashed places of 16 bytes, and as much again
	maxFile      = 64 << 20  // bytes of any other file: 1,000 rows of 1,024 inputs are 20 MiB
	maxFiles     = 32        // that a manifest lists
	maxFileName  = 64        // bytes
	maxGolden    = 1000      // rows: opening takes milliseconds
)

// A Bundle is a trained model, ready to score. Its methods may be called at
// once.
type Bundle struct {
	id       string
	manifest Manifest
	scorer   scorer
	files    map[string][]byte
}

// Open reads and verifies the bundle dir/id: the id, the signature by one of the
// trusted keys, the checksum of each file, the parts against each other, and
// that the golden rows score the same here as where it was trained, to the bit.
// It refuses what has a byte changed, more or less anywhere.
func Open(dir, id string, trusted []ed25519.PublicKey) (*Bundle, error) {
	if sum, err := hex.DecodeString(id); err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != id {
		return nil, fmt.Errorf("bundle: %q is no id of a bundle, which is %d hexadecimal digits in lower case", id, 2*sha256.Size)
	}
	b, err := openFolder(filepath.Join(dir, id), id, trusted)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("bundle %s: it is not in %s; copy its folder there, or make it again by \"%s\": %w", short(id), dir, reproduce, err)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", short(id), err)
	}
	return b, nil
}

// short is an id as people see it.
func short(id string) string { return id[:12] }

// openFolder opens the bundle in a folder of any name. Nothing of it is decoded
// before its signature has been checked.
func openFolder(folder, id string, trusted []ed25519.PublicKey) (*Bundle, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	manifest, err := readFile(folder, ManifestName, maxManifest)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(manifest); hex.EncodeToString(sum[:]) != id {
		return nil, fmt.Errorf("%s: its SHA-256 is %x and not the bundle's id: it was changed or damaged; %s", ManifestName, sum, advice)
	}
	signature, err := readFile(folder, SignatureName, maxSignature)
	if err != nil {
		return nil, err
	}
	if err := verify(manifest, signature, trusted); err != nil {
		return nil, fmt.Errorf("%s: %w", SignatureName, err)
	}
	b := &Bundle{id: id, files: make(map[string][]byte)}
	if err := decodeManifest(manifest, &b.manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestName, err)
	}
	if err := b.read(folder, entries); err != nil {
		return nil, err
	}
	if err := b.load(); err != nil {
		return nil, err
	}
	delete(b.files, WeightsName) // the model has them, and they may be large
	b.files[ManifestName], b.files[SignatureName] = manifest, signature
	return b, nil
}

// advice is for a bundle that was damaged. Training goes on and makes others: of
// one spec there is one run.
const advice = "remove the bundle's folder, and restore it from a copy, or make it again by \"" + reproduce + "\""

const reproduce = "millrace runs reproduce RUN --dir DATA/models"

// decodeManifest reads manifest.json and checks what it says by itself.
func decodeManifest(data []byte, m *Manifest) error {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	if head.Format != formatVersion {
		return fmt.Errorf("format %d; this version of millrace reads %d", head.Format, formatVersion)
	}
	if err := decodeJSON(data, m); err != nil {
		return err
	}
	for i := range m.Inputs {
		in := &m.Inputs[i]
		in.Kind = kindOf(in.KindName)
		if in.Kind == expr.Missing {
			return fmt.Errorf("input %q: kind %q is none of bool, int, float and string", in.Name, in.KindName)
		}
	}
	if err := CheckInputs(m.Inputs); err != nil {
		return err
	}
	if set := SetID(m.Inputs); m.Set != set {
		return fmt.Errorf("set %q, but that of its inputs is %s", m.Set, set)
	}
	if m.Task != learn.Binary && m.Task != learn.Regression {
		return fmt.Errorf("task %q is neither binary nor regression", m.Task)
	}
	return checkFiles(m.Files)
}

// checkFiles checks a manifest's list of files.
func checkFiles(files []File) error {
	if len(files) > maxFiles {
		return fmt.Errorf("%d files; there may be %d", len(files), maxFiles)
	}
	own := 0
	for i, f := range files {
		limit := int64(maxFile)
		switch f.Name {
		case WeightsName:
			limit = maxWeights
			fallthrough
		case GoldenName, TransformName:
			own++
		default:
			if !extraName(f.Name) {
				return fmt.Errorf("file %q: no such name is allowed", f.Name)
			}
		}
		if f.Size < 0 || f.Size > limit {
			return fmt.Errorf("file %q of %d bytes; it may have %d", f.Name, f.Size, limit)
		}
		if i > 0 && files[i-1].Name >= f.Name {
			return fmt.Errorf("files %q and %q are not in order", files[i-1].Name, f.Name)
		}
	}
	if own != 3 {
		return fmt.Errorf("the files lack one of %s, %s and %s", GoldenName, TransformName, WeightsName)
	}
	return nil
}

// read reads the files that the manifest lists. The folder holds nothing else.
func (b *Bundle) read(folder string, entries []os.DirEntry) error {
	for _, e := range entries {
		listed := slices.ContainsFunc(b.manifest.Files, func(f File) bool { return f.Name == e.Name() })
		if !listed && e.Name() != ManifestName && e.Name() != SignatureName {
			return fmt.Errorf("%s is in the folder and not in the manifest; remove it", e.Name())
		}
	}
	for _, f := range b.manifest.Files {
		data, err := readFile(folder, f.Name, f.Size)
		if err != nil {
			return fmt.Errorf("%w; %s", err, advice)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != f.SHA256 {
			return fmt.Errorf("%s: its SHA-256 is %x and not %s: it was changed or damaged; %s", f.Name, sum, f.SHA256, advice)
		}
		b.files[f.Name] = data
	}
	return nil
}

// load makes the scorer of the files and tries it on the golden rows.
func (b *Bundle) load() error {
	t, err := decodeTransform(b.files[TransformName])
	if err == nil {
		err = t.fits(b.manifest.Inputs)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", TransformName, err)
	}
	model, err := openModel(&b.manifest, t, b.files[WeightsName])
	if err != nil {
		return err
	}
	b.scorer.task, b.scorer.transform, b.scorer.model = b.manifest.Task, t, model
	if err := checkGolden(b.files[GoldenName], b.manifest.Inputs, b.Score); err != nil {
		return fmt.Errorf("%s: %w", GoldenName, err)
	}
	return nil
}

// ID returns the SHA-256 of the bundle's manifest, 64 hexadecimal digits.
func (b *Bundle) ID() string { return b.id }

// Manifest returns what the bundle says about itself. It must not be changed.
func (b *Bundle) Manifest() *Manifest { return &b.manifest }

// File returns the bytes of one of the bundle's files, or nil where there is
// none of that name. They must not be changed. The weights are not kept.
func (b *Bundle) File(name string) []byte { return b.files[name] }
