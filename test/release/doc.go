// Package release proves what `make release` makes: the same bytes from every copy of the source, programs that need nothing of the machine, a
// chart that Helm takes, a bill of materials that says what is in the programs, and images that start what the chart expects.
package release
