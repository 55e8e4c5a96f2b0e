package command

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
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

// Confirmed asks a person whether to go on. Everything but yes is no.
func Confirmed(out io.Writer, in io.Reader) bool {
	fmt.Fprint(out, "Go on? [y/N] ")
	line, _ := bufio.NewReader(io.LimitReader(in, 1<<10)).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
