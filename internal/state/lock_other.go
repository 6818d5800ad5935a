//go:build !unix

package state

import "github.com/rowmill/rowmill/internal/fsys"

// exclude does nothing where there is no flock: two runs at once are not noticed there.
func exclude(fsys.File) error { return nil }

func admit(fsys.File) error { return nil }
