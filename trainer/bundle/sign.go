package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// A signatureFile is manifest.sig: an ed25519 signature of the bytes of
// manifest.json.
type signatureFile struct {
	Key       string `json:"key"`       // KeyID of the key that signed
	Signature string `json:"signature"` // 128 hexadecimal digits, lower case
}

// KeyID returns the name of a key: the first 16 hexadecimal digits of the
// SHA-256 of its 32 bytes.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

func sign(manifest []byte, key ed25519.PrivateKey) ([]byte, error) {
	id := KeyID(key.Public().(ed25519.PublicKey))
	return encodeJSON(signatureFile{id, hex.EncodeToString(ed25519.Sign(key, manifest))})
}

// ErrUntrusted is wrapped by the error of a bundle whose key is not trusted. It
// may be whole: it can be opened once its key is trusted.
var ErrUntrusted = errors.New("not trusted here")

// verify reports whether one of the trusted keys has signed the manifest.
func verify(manifest, file []byte, trusted []ed25519.PublicKey) error {
	var f signatureFile
	if err := decodeJSON(file, &f); err != nil {
		return err
	}
	signature, err := hex.DecodeString(f.Signature)
	if err != nil || hex.EncodeToString(signature) != f.Signature {
		return errors.New("the signature is not hexadecimal digits in lower case")
	}
	for _, key := range trusted {
		if KeyID(key) != f.Key {
			continue
		}
		if !ed25519.Verify(key, manifest, signature) {
			return fmt.Errorf("key %s has not signed this %s: one of the two files was changed; %s", f.Key, ManifestName, advice)
		}
		return nil
	}
	return fmt.Errorf(`signed by key %q, which is %w; if it is a trainer of yours, print its key there by "millrace keys show", and let "millrace keys trust FILE" take it in here`, f.Key, ErrUntrusted)
}
