package bundle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/millrace/millrace/trainer/bundle"
)

// TestReadKeysOfAnotherUser reads as a server that runs as another user than the
// trainer: it has the public keys, and no private one.
func TestReadKeysOfAnotherUser(t *testing.T) {
	dir := t.TempDir()
	own := openKeys(t, dir).Public()
	if err := os.Chmod(filepath.Join(dir, "signing.key"), 0); err != nil { // enough where we are not root
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // TempDir lets nobody else in
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer syscall.Setfsuid(0)
	}
	keys, err := bundle.ReadKeys(dir)
	if err != nil || keys.Private() != nil || !trusts(keys, own) {
		t.Fatalf("%v, %v", keys, err)
	}
	if _, err := bundle.OpenKeys(dir); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the trainer itself: %v", err)
	}
}
