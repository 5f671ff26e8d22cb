// Package engines opens what a project file names: the online store, Kafka, and
// the pipeline on the two. A process that embeds a broker starts it itself.
package engines

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/features/online/redis"
	"github.com/millrace/millrace/streams"
)

// reachTimeout is for how long a server that should run already is tried.
const reachTimeout = 10 * time.Second

// A SettingError is what the user has to set otherwise, in the project file or
// in the environment.
type SettingError struct{ Err error }

func (e *SettingError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SettingError) Unwrap() error { return e.Err }

// Store opens the project's online store: the Redis that it names, which must
// answer, or its embedded Pebble, of which one process at a time is the owner.
// What the user has set wrongly is a *SettingError.
func Store(ctx context.Context, p *project.Project) (online.Store, error) {
	r := p.Store.Redis
	if r == nil {
		s, err := pebble.Open(p.StoreDir())
		if err != nil {
			return nil, err // and not s: a nil *Store is no nil Store
		}
		return s, nil
	}
	password, err := r.Password()
	if err != nil {
		return nil, &SettingError{err}
	}
	o := redis.Options{Addresses: r.Addresses, Username: r.Username, Password: password}
	if o.TLS, err = r.TLS.Config(); err != nil {
		return nil, &SettingError{fmt.Errorf("project: store.redis.%w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	s, err := redis.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Cluster returns a Kafka cluster that has answered. An embedded broker is named
// as any other, by its address. What the user has set wrongly is a *SettingError.
func Cluster(ctx context.Context, k project.Kafka) (*streams.Cluster, error) {
	o := streams.Options{Addresses: k.Addresses}
	var err error
	if o.TLS, err = k.TLS.Config(); err != nil {
		return nil, &SettingError{fmt.Errorf("project: kafka.%w", err)}
	}
	if s := k.SASL; s != nil {
		o.SASL = streams.SASL{Mechanism: streams.Mechanism(strings.ToUpper(s.Mechanism)), Username: s.Username}
		if o.SASL.Password, err = s.Password(); err != nil {
			return nil, &SettingError{err}
		}
	}
	c, err := streams.Connect(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if _, err = c.ID(ctx); err == nil {
		return c, nil
	}
	c.Close()
	if errors.As(err, new(*streams.AccessError)) {
		return nil, fmt.Errorf("no access to Kafka; the settings are kafka.tls and kafka.sasl of the project file: %w", err)
	}
	return nil, fmt.Errorf("no answer from Kafka at %s; start it, or set kafka.addresses in the project file: %w", strings.Join(k.Addresses, ", "), err)
}
