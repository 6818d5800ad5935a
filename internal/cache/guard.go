package cache

import (
	"fmt"
	"runtime/debug"
)

// guarded makes an error of a panic. bbolt maps the file into memory and believes
// what stands there: a page that is damaged panics, and one that is missing because
// the file was cut short is a fault, which would end the program.
func (f *File) guarded(work func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			f.panicked.Store(true)
			err = fmt.Errorf("%v", v)
		}
	}()
	return work()
}
