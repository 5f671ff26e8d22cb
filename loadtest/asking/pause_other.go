//go:build !linux

package asking

import "time"

// punctual is for Linux.
func punctual() {}

func pause(d time.Duration) { time.Sleep(d) }
