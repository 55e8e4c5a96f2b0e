// Command table turns the output of `go test -bench` on standard input into a table in which every benchmark stands beside the
// first of its siblings: for "Snapshot/keys=3/open" that is the first "Snapshot/keys=3/...". So the figure that depends on the
// machine comes first in the source, and what is ours is a multiple of it.
//
// Lines that are not results are passed on as they come. The exit status is 1 if a benchmark failed or there was none.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

// result is one line of the testing package: a name and values by unit.
type result struct {
	name   string
	values []value
}

type value struct {
	number float64
	unit   string
}

var (
	errNone   = errors.New("no benchmark ran")
	errFailed = errors.New("a benchmark failed")
)

func run(in io.Reader, out io.Writer) error {
	var results []result
	failed := false
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if r, ok := parse(lines.Text()); ok {
			results = append(results, r)
			continue
		}
		failed = failed || strings.HasPrefix(lines.Text(), "FAIL") || strings.HasPrefix(lines.Text(), "--- FAIL")
		fmt.Fprintln(out, lines.Text())
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if err := write(out, results); err != nil {
		return err
	}
	switch {
	case failed:
		return errFailed
	case len(results) == 0:
		return errNone
	}
	return nil
}

// cores is what the testing package appends to a name.
var cores = regexp.MustCompile(`-\d+$`)

// parse reads "BenchmarkName-8  100  12 ns/op  3 B/op ...".
func parse(line string) (result, bool) {
	fields := strings.Fields(line)
	name, found := strings.CutPrefix(line, "Benchmark")
	if !found || len(fields) < 4 || len(fields)%2 != 0 {
		return result{}, false
	}
	name, _, _ = strings.Cut(name, " ")
	name, _, _ = strings.Cut(name, "\t")
	r := result{name: cores.ReplaceAllString(name, "")}
	for i := 2; i < len(fields); i += 2 {
		number, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return result{}, false
		}
		r.values = append(r.values, value{number, fields[i+1]})
	}
	return r, true
}

func write(out io.Writer, results []result) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nbenchmark\tvalue\tof the first")
	first := map[string]result{} // by parent
	for _, r := range results {
		parent := path.Dir(r.name)
		baseline, found := first[parent]
		if !found && parent != "." {
			first[parent] = r
		}
		for i, v := range r.values {
			name := r.name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(table, "%s\t%s\t%s\n", name, v, ratio(v, baseline))
		}
	}
	return table.Flush()
}

func ratio(v value, baseline result) string {
	for _, b := range baseline.values {
		if b.unit == v.unit && b.number != 0 {
			return fmt.Sprintf("%.2f ×", v.number/b.number)
		}
	}
	return ""
}

// String shows times in a unit a person reads.
func (v value) String() string {
	switch {
	case v.unit != "ns/op":
		return fmt.Sprintf("%.4g %s", v.number, v.unit)
	case v.number >= 1e6:
		return fmt.Sprintf("%.3g ms/op", v.number/1e6)
	case v.number >= 1e3:
		return fmt.Sprintf("%.3g µs/op", v.number/1e3)
	}
	return fmt.Sprintf("%.3g ns/op", v.number)
}
