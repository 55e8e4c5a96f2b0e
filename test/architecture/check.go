package architecture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check returns what is wrong with a graph, one sentence per violation, sorted; none for a graph that keeps every rule.
func Check(graph Graph) []string {
	var violations []string
	for _, p := range graph {
		folder, ours := Folder(p.ImportPath)
		if !ours {
			continue
		}
		violations = append(violations, checkArrows(folder, p)...)
		violations = append(violations, checkPurity(folder, p)...)
		if p.Name == "main" {
			violations = append(violations, checkClouds(folder, p)...)
			violations = append(violations, checkWeight(folder, p)...)
		}
	}
	slices.Sort(violations)
	return violations
}

func checkArrows(folder string, p Package) []string {
	arrow, found := arrowFrom(folder)
	if !found {
		return []string{fmt.Sprintf("%s is in no folder the architecture knows: add an arrow for it", folder)}
	}
	var violations []string
	for _, imported := range p.Imports {
		target, ours := Folder(imported)
		if ours && !allowed(arrow, target) {
			violations = append(violations, fmt.Sprintf("%s imports %s, which %s may not", folder, target, arrow.From))
		}
	}
	return violations
}

// arrowFrom finds the deepest folder of the rules that holds the given one.
func arrowFrom(folder string) (Arrow, bool) {
	var deepest Arrow
	for _, arrow := range Arrows {
		if within(folder, arrow.From) && len(arrow.From) > len(deepest.From) {
			deepest = arrow
		}
	}
	return deepest, deepest.From != ""
}

// allowed reports whether the folder that holds the target is the arrow's own or one it points to.
func allowed(arrow Arrow, target string) bool {
	home, found := arrowFrom(target)
	if !found {
		return false
	}
	return home.From == arrow.From || slices.ContainsFunc(arrow.To, func(to string) bool {
		parent, everything := strings.CutSuffix(to, "...")
		return to == home.From || everything && strings.HasPrefix(home.From, parent)
	})
}

func checkPurity(folder string, p Package) []string {
	if !slices.ContainsFunc(Core, func(core string) bool { return within(folder, core) }) {
		return nil
	}
	var violations []string
	for _, imported := range p.Imports {
		impure := imported == "net" || slices.ContainsFunc(Impure, func(i string) bool { return within(imported, i) })
		if impure {
			violations = append(violations, fmt.Sprintf("%s imports %s, but the core is pure", folder, imported))
		}
	}
	return violations
}

// checkClouds holds "one binary, one cloud", and that a function links its own.
func checkClouds(folder string, p Package) []string {
	if slices.ContainsFunc(AnyCloud, func(binary string) bool { return within(folder, binary) }) {
		return nil
	}
	linked := map[string]bool{}
	for cloud, libraries := range SDKs {
		linked[cloud] = linksAny(p, libraries)
	}
	maps.DeleteFunc(linked, func(_ string, links bool) bool { return !links })
	clouds := slices.Sorted(maps.Keys(linked))
	if len(clouds) > 1 {
		return []string{fmt.Sprintf("%s links the SDKs of %v; one binary links one cloud", folder, clouds)}
	}
	for _, cloud := range clouds {
		if within(folder, "functions") && !within(folder, "functions/"+cloud) {
			return []string{fmt.Sprintf("%s links the SDK of %s, another cloud's", folder, cloud)}
		}
	}
	return nil
}

func checkWeight(folder string, p Package) []string {
	var violations []string
	for binary, libraries := range Heavy {
		for _, library := range libraries {
			if within(folder, binary) && linksAny(p, []string{library}) {
				violations = append(violations, fmt.Sprintf("%s links %s, which it must do without", folder, library))
			}
		}
	}
	return violations
}

func linksAny(p Package, libraries []string) bool {
	return slices.ContainsFunc(p.Deps, func(dependency string) bool {
		return slices.ContainsFunc(libraries, func(library string) bool { return within(dependency, library) })
	})
}
