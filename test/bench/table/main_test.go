package main

import (
	"errors"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want []string // rows, with any white space
		err  error
	}{
		"beside the first sibling": {
			in: "goos: linux\n" +
				"BenchmarkOpen/keys=1/bare-2\t100\t200 ns/op\t4 B/op\t0 allocs/op\n" +
				"BenchmarkOpen/keys=1/ours-2\t100\t500 ns/op\t6 B/op\t1 allocs/op\n" +
				"BenchmarkOpen/keys=3/bare-2 100 3000000 ns/op\nPASS\n",
			want: []string{
				"goos: linux", "Open/keys=1/bare 200 ns/op", "Open/keys=1/ours 500 ns/op 2.50 ×", "6 B/op 1.50 ×", "1 allocs/op",
				"Open/keys=3/bare 3 ms/op", "PASS",
			},
		},
		"a unit of its own": {in: "BenchmarkExporter/memory 1 1234 ns/op 1.9e+07 resident-bytes\n", want: []string{"1.9e+07 resident-bytes"}},
		"no siblings":       {in: "BenchmarkA 1 5 ns/op\nBenchmarkB 1 6 ns/op\n", want: []string{"A 5 ns/op", "B 6 ns/op"}},
		"failure":           {in: "BenchmarkA/b 1 5 ns/op\n--- FAIL: BenchmarkC\n", want: []string{"A/b 5 ns/op"}, err: errFailed},
		"did not build":     {in: "FAIL\tpackage [build failed]\n", err: errFailed},
		"none":              {in: "PASS\nok package 1s\n", err: errNone},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if err := run(strings.NewReader(test.in), &out); !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			got := "\n"
			for line := range strings.Lines(out.String()) {
				got += strings.Join(strings.Fields(line), " ") + "\n"
			}
			for _, row := range test.want {
				if !strings.Contains(got, "\n"+row+"\n") {
					t.Errorf("no row %q in:%s", row, got)
				}
			}
		})
	}
}
