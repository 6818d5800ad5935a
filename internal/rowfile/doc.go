// Package rowfile is what the components that read and write rows in files have in common,
// wherever the files lie: how their format is chosen and checked, how rows are read from
// bytes that come from somewhere, and how they are written to a file that can be cut back
// to a checkpoint.
package rowfile
