package template

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// placeholder is what Fn::Sub replaces; ${!Name} stands for the text ${Name}.
var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// Order lists the resources so that each comes after those it needs; of those that could come next, the first by name does. A cycle is
// ErrTemplate and named.
func (t *Template) Order() ([]string, error) {
	walk := &walk{template: t, state: map[string]int{}}
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		if err := walk.visit(id, nil); err != nil {
			return nil, err
		}
	}
	return walk.order, nil
}

type walk struct {
	template *Template
	state    map[string]int // 1: on the path to it, 2: in order
	order    []string
}

func (w *walk) visit(id string, path []string) error {
	path = append(path, id)
	switch w.state[id] {
	case 1:
		return fmt.Errorf("%w: circular dependency between resources: %s", ErrTemplate, strings.Join(path[slices.Index(path, id):], " → "))
	case 2:
		return nil
	}
	w.state[id] = 1
	needs, err := w.template.Needs(id)
	if err != nil {
		return err
	}
	for _, need := range needs {
		if err := w.visit(need, path); err != nil {
			return err
		}
	}
	w.state[id] = 2
	w.order = append(w.order, id)
	return nil
}

// Needs are the resources that a resource waits for, sorted.
func (t *Template) Needs(id string) ([]string, error) {
	r := t.Resources[id]
	found := map[string]bool{}
	for _, name := range r.DependsOn {
		if _, known := t.Resources[name]; !known {
			return nil, fmt.Errorf("%w: %s depends on %s, which is no resource", ErrTemplate, id, name)
		}
		found[name] = true
	}
	if err := t.references(r.Properties, found); err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// references collects the resources that a value speaks of.
func (t *Template) references(value any, found map[string]bool) error {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			if err := t.references(item, found); err != nil {
				return err
			}
		}
	case map[string]any:
		if name, argument, ok := function(v); ok {
			if err := t.referencesOf(name, argument, found); err != nil {
				return err
			}
		}
		for _, item := range v {
			if err := t.references(item, found); err != nil {
				return err
			}
		}
	}
	return nil
}

// referencesOf collects what one function names by itself; its arguments are walked like every value.
func (t *Template) referencesOf(name string, argument any, found map[string]bool) error {
	switch name {
	case "Ref":
		target, _ := argument.(string)
		return t.refer(target, found)
	case "Fn::GetAtt":
		target, _, err := attribute(argument)
		if err != nil {
			return err
		}
		return t.refer(target, found)
	case "Fn::Sub":
		text, variables, err := substitution(argument)
		if err != nil {
			return err
		}
		for _, match := range placeholder.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(match[1], ".")
			if _, own := variables[match[1]]; own || strings.HasPrefix(target, "!") {
				continue
			}
			if err := t.refer(target, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Template) refer(target string, found map[string]bool) error {
	if _, known := t.Resources[target]; known {
		found[target] = true
		return nil
	}
	if _, known := t.Parameters[target]; known || strings.HasPrefix(target, "AWS::") {
		return nil
	}
	return fmt.Errorf("%w: it refers to %q, which is neither a resource nor a parameter", ErrTemplate, target)
}
