package command

import (
	"io"
	"os"
)

// Read reads a file, or standard input for "-": at most limit bytes and one more, by which the caller sees that there are too many.
func Read(name string, stdin io.Reader, limit int64) ([]byte, error) {
	source := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		source = file
	}
	return io.ReadAll(io.LimitReader(source, limit+1))
}
