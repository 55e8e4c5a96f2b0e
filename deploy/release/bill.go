package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// A program is a binary of the release, with what the Go tool wrote into it.
type program struct {
	name    string // of the file, or PACKAGE.zip/FILE
	content []byte
	info    *debug.BuildInfo
}

var errNoProgram = errors.New("no program made by Go")

// materials is the bill of materials in CycloneDX's JSON: every program of the folder, and the modules that each is made of, as the binaries
// themselves say. It has no time and no serial number, which would be others every time.
func materials(folder, version string) ([]byte, error) {
	programs, err := readPrograms(folder)
	if err != nil {
		return nil, err
	}
	if len(programs) == 0 {
		return nil, fmt.Errorf("%s: %w", folder, errNoProgram)
	}
	list := cyclonedx.NewBOM()
	list.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		BOMRef: "kube-iam-assume", Type: cyclonedx.ComponentTypeApplication, Name: "kube-iam-assume", Version: version,
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "GPL-3.0-or-later"}}},
	}}
	var components []cyclonedx.Component
	var dependencies []cyclonedx.Dependency
	libraries := map[string]cyclonedx.Component{}
	for _, p := range programs {
		components = append(components, p.component(version))
		var needs []string
		for _, m := range p.modules() {
			library := component(m)
			libraries[library.BOMRef] = library
			needs = append(needs, library.BOMRef)
		}
		slices.Sort(needs)
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: p.name, Dependencies: &needs})
	}
	components = append(components, slices.SortedFunc(maps.Values(libraries), func(a, b cyclonedx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })...)
	list.Components, list.Dependencies = &components, &dependencies
	var out bytes.Buffer
	err = cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(list, cyclonedx.SpecVersion1_6)
	return out.Bytes(), err
}

func (p program) component(version string) cyclonedx.Component {
	return cyclonedx.Component{
		BOMRef: p.name, Type: cyclonedx.ComponentTypeFile, Name: p.name, Version: version,
		Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: fmt.Sprintf("%x", sha256.Sum256(p.content))}},
	}
}

// modules are what the program is made of besides this project: the standard library and every module that is linked.
func (p program) modules() []*debug.Module {
	modules := []*debug.Module{{Path: "std", Version: strings.TrimPrefix(p.info.GoVersion, "go")}}
	for _, m := range p.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, m)
	}
	return modules
}

func component(m *debug.Module) cyclonedx.Component {
	url := "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	library := cyclonedx.Component{BOMRef: url, PackageURL: url, Type: cyclonedx.ComponentTypeLibrary, Name: m.Path, Version: m.Version}
	if m.Sum != "" {
		library.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: m.Sum}}
	}
	return library
}

// readPrograms finds the programs of a folder, also those in packages.
func readPrograms(folder string) ([]program, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var programs []program
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		switch filepath.Ext(entry.Name()) {
		case ".tgz", ".json":
			continue
		case ".zip":
			inside, err := readPackage(entry.Name(), content)
			if err != nil {
				return nil, err
			}
			programs = append(programs, inside...)
			continue
		}
		info, err := buildinfo.Read(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", entry.Name(), errNoProgram, err)
		}
		programs = append(programs, program{entry.Name(), content, info})
	}
	return programs, nil
}

// readPackage finds the programs of a function's package, beside which there are settings.
func readPackage(name string, archive []byte) ([]program, error) {
	files, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var programs []program
	for _, file := range files.File {
		in, err := file.Open()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if info, err := buildinfo.Read(bytes.NewReader(content)); err == nil {
			programs = append(programs, program{name + "/" + file.Name, content, info})
		}
	}
	if len(programs) == 0 {
		return nil, fmt.Errorf("%s: %w", name, errNoProgram)
	}
	return programs, nil
}
