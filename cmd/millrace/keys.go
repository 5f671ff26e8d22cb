package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"

	"github.com/millrace/millrace/trainer/bundle"
)

type keysCmd struct {
	Show   keysShowCmd   `cmd:"" help:"Print the public key that others need to trust the models trained here."`
	Trust  keysTrustCmd  `cmd:"" help:"Trust the models of another trainer, by its public key."`
	List   keysListCmd   `cmd:"" help:"List the keys that are trusted."`
	Rotate keysRotateCmd `cmd:"" help:"Sign with a new key from now on."`
}

func (keysCmd) Help() string {
	return `A trained model is signed, and a server opens only what a trusted key has signed: nobody who can merely write to the models' folder can put a model into service.

On one machine nothing has to be done: the project makes its pair of keys when it first needs one, and trusts it. Where a server runs elsewhere, with a folder of its own, give it the trainer's public key:

	millrace keys show > trainer.pub        # where models are trained
	millrace keys trust trainer.pub         # where they are served

The keys are in the folder keys of the project's data: signing.key, which stays there and which only its owner may read, and trusted/*.pub. To trust a key no longer, remove its file there: what it has signed is then opened no more. A server that has such a model loaded goes on with it until it is started again.`
}

type keysShowCmd struct {
	projectFlag
	JSON bool `help:"Print a JSON object: {\"key\", \"public\"}."`
}

func (keysShowCmd) Help() string {
	return `Prints the name and the public half of the key that signs the models trained here, in PEM. It makes the pair where there is none yet. The private half is never printed.

Example:

	millrace keys show > trainer.pub`
}

type keysTrustCmd struct {
	projectFlag
	File string `arg:"" placeholder:"FILE" help:"A public key in PEM, as keys show prints it; - is the standard input."`
	JSON bool   `help:"Print a JSON object: {\"key\", \"public\"}."`
}

func (keysTrustCmd) Help() string {
	return `From now on the servers, the deployer and the trainer of this project open the models that this key has signed. Whoever holds the private half can put models into it that way, so be sure where the file comes from: compare the key's name with what keys show prints there.

Example:

	millrace keys trust trainer.pub`
}

type keysListCmd struct {
	projectFlag
	JSON bool `help:"Print a JSON object: {\"keys\": [{\"key\", \"own\", \"public\"}, ...]}."`
}

type keysRotateCmd struct {
	projectFlag
	JSON bool `help:"Print a JSON object: {\"key\", \"public\"}."`
}

func (keysRotateCmd) Help() string {
	return `Makes a new pair. The old private key is deleted; the old public key stays trusted, so that what it has signed can still be served. If somebody may have the old private key, train anew and then remove the old key's file from keys/trusted, in each project that trusts it.

A trainer that is running signs with the new key from its next start on.

Example:

	millrace keys rotate`
}

// A key is a public key, for machines.
type key struct {
	Key    string `json:"key"`
	Own    *bool  `json:"own,omitempty"` // it signs here
	Public string `json:"public"`
}

func publicKey(k ed25519.PublicKey) key {
	return key{Key: bundle.KeyID(k), Public: string(bundle.EncodePublic(k))}
}

func (c *keysShowCmd) Run(a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	keys, err := bundle.OpenKeys(p.KeysDir())
	if err != nil {
		return err
	}
	k := publicKey(keys.Public())
	if c.JSON {
		return a.printJSON(k)
	}
	// Text before the key is no part of it, to openssl as to us.
	_, err = fmt.Fprintf(a.stdout, "key %s signs the models of project %s\n%s", k.Key, p.Name, k.Public)
	return err
}

func (c *keysTrustCmd) Run(a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	public, err := readPublic(a.stdin, c.File)
	if err != nil {
		return err
	}
	keys, err := bundle.ReadKeys(p.KeysDir())
	if err != nil {
		return err
	}
	if err := keys.Trust(public); err != nil {
		return err
	}
	k := publicKey(public)
	if c.JSON {
		return a.printJSON(k)
	}
	fmt.Fprintf(a.stdout, "Key %s is trusted: servers of project %s open what it has signed.\n", k.Key, p.Name)
	return nil
}

// maxPublicBytes is more than any public key has, with much text around it.
const maxPublicBytes = 64 << 10

// readPublic reads the public key in a file. What is wrong with it is the
// user's to set right.
func readPublic(stdin io.Reader, name string) (ed25519.PublicKey, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("keys: there is no %s; print the key by \"millrace keys show\" where models are trained", name)
		}
		if err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxPublicBytes))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	public, err := bundle.DecodePublic(data)
	if err != nil {
		return nil, usagef("keys: %s: %w", name, err)
	}
	return public, nil
}

func (c *keysListCmd) Run(a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	keys, err := bundle.ReadKeys(p.KeysDir())
	if err != nil {
		return err
	}
	list := []key{}
	for _, public := range keys.Trusted() {
		k, own := publicKey(public), public.Equal(keys.Public())
		k.Own = &own
		list = append(list, k)
	}
	if c.JSON {
		return a.printJSON(struct {
			Keys []key `json:"keys"`
		}{list})
	}
	return printKeys(a.stdout, list)
}

func printKeys(w io.Writer, list []key) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, `no key is trusted yet; "millrace keys show" makes the pair of this project, "millrace keys trust FILE" takes in another's`)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tSIGNS HERE")
	for _, k := range list {
		fmt.Fprintf(t, "%s\t%s\n", k.Key, map[bool]string{true: "yes", false: "no"}[*k.Own])
	}
	return t.Flush()
}

func (c *keysRotateCmd) Run(a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	keys, err := bundle.OpenKeys(p.KeysDir())
	if err != nil {
		return err
	}
	old := bundle.KeyID(keys.Public())
	if err := keys.Rotate(); err != nil {
		return err
	}
	k := publicKey(keys.Public())
	if c.JSON {
		return a.printJSON(k)
	}
	fmt.Fprintf(a.stdout, "Key %s signs from now on. Key %s is still trusted here. Servers elsewhere need the new one, too: see millrace keys show.\n", k.Key, old)
	return nil
}
