// Command release completes a folder of programs and packages to a release: it adds the Helm chart, a bill of materials and checksums, and
// prints sizes. All it writes depends on nothing but the folder, the chart and the version.
//
// It is a module of its own, so that the library that writes bills of materials is not among the product's dependencies.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

const (
	bill = "sbom.cdx.json"
	sums = "SHA256SUMS"
)

func main() {
	version := flag.String("version", "", "`version` of the release, such as 1.2.3")
	chart := flag.String("chart", "", "`folder` of the Helm chart")
	flag.Parse()
	if *version == "" || *chart == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: release -version VERSION -chart FOLDER RELEASE-FOLDER")
		os.Exit(2)
	}
	if err := complete(flag.Arg(0), *chart, *version); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func complete(folder, chart, version string) error {
	packed, err := packChart(chart, version)
	if err != nil {
		return fmt.Errorf("pack the chart: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "kube-iam-assume-"+version+".tgz"), packed, 0o600); err != nil {
		return err
	}
	text, err := materials(folder, version)
	if err != nil {
		return fmt.Errorf("the bill of materials: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, bill), text, 0o600); err != nil {
		return err
	}
	text, err = checksums(folder)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, sums), text, 0o600); err != nil {
		return err
	}
	return printSizes(os.Stdout, folder)
}
