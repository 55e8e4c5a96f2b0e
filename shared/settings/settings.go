// Package settings reads the YAML files that people write, strictly: what is not understood is refused, with the line and the
// remedy, because a misspelt field in these files would be an outage or a breach that nobody sees.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// APIVersion is that of every file. The files are not for kubectl.
const APIVersion = "config.kube-iam-assume.dev/v1alpha1"

// MaxBytes is the largest file that is read.
const MaxBytes = 1 << 20

// ErrInvalid is every refusal of a file. The message begins with the file's name and, where there is one, the line.
var ErrInvalid = errors.New("invalid settings")

// Header is embedded in every file's type.
type Header struct {
	APIVersion string `json:"apiVersion" yaml:"apiVersion"`
	Kind       string `json:"kind"       yaml:"kind"`
}

// Document is a file that was decoded, for errors about what it says.
type Document struct {
	name string
	root *yaml.Node
}

// Decode reads one file of a kind into a struct with yaml tags that embeds Header inline. The error is ErrInvalid.
func Decode(name string, data []byte, kind string, into any) (*Document, error) {
	d := &Document{name: name, root: &yaml.Node{}}
	if len(data) > MaxBytes {
		return nil, d.at(0, "%d bytes, at most %d", len(data), MaxBytes)
	}
	if err := yaml.Unmarshal(data, d.root); err != nil {
		return nil, d.wrap(err)
	}
	if err := d.refuseAliases(d.root); err != nil {
		return nil, err
	}
	for field, want := range map[string]string{"apiVersion": APIVersion, "kind": kind} {
		if got := d.scalar(field); got != want {
			return nil, d.Errorf([]any{field}, "%s is %q, want %q", field, got, want)
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		return nil, d.wrap(err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, d.at(0, "more than one YAML document: write one file each")
	}
	return d, nil
}

// Errorf is ErrInvalid at the line of a path of field names and indices, or of as much of it as exists.
func (d *Document) Errorf(path []any, format string, args ...any) error {
	return d.at(d.line(path), format, args...)
}

func (d *Document) at(line int, format string, args ...any) error {
	place := d.name
	if line > 0 {
		place = fmt.Sprintf("%s:%d", d.name, line)
	}
	return fmt.Errorf("%s: %w: %w", place, ErrInvalid, fmt.Errorf(format, args...))
}

func (d *Document) line(path []any) int {
	node := d.top()
	for _, step := range path {
		next := child(node, step)
		if next == nil {
			break
		}
		node = next
	}
	return node.Line
}

func (d *Document) top() *yaml.Node {
	if len(d.root.Content) == 0 {
		return d.root
	}
	return d.root.Content[0]
}

func (d *Document) scalar(field string) string {
	if node := child(d.top(), field); node != nil {
		return node.Value
	}
	return ""
}

func child(node *yaml.Node, step any) *yaml.Node {
	switch step := step.(type) {
	case string:
		for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1]
			}
		}
	case int:
		if node.Kind == yaml.SequenceNode && step < len(node.Content) {
			return node.Content[step]
		}
	}
	return nil
}

// refuseAliases keeps what is read as large as what was written.
func (d *Document) refuseAliases(node *yaml.Node) error {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		return d.at(node.Line, "anchors and aliases are not allowed: write the value out")
	}
	for _, next := range node.Content {
		if err := d.refuseAliases(next); err != nil {
			return err
		}
	}
	return nil
}

var (
	unknownField   = regexp.MustCompile(`^line (\d+): field (\S+) not found in type .*$`)
	duplicateField = regexp.MustCompile(`^line (\d+): mapping key "(.*)" already defined at line (\d+)$`)
	someLine       = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
)

// LineError is what a type's UnmarshalYAML returns, so that Decode can name the place.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return e.Err.Error() }
func (e *LineError) Unwrap() error { return e.Err }

// wrap says what the YAML library found in the words of the person who wrote the file.
func (d *Document) wrap(err error) error {
	var placed *LineError
	if errors.As(err, &placed) {
		return d.at(placed.Line, "%w", placed.Err)
	}
	var all *yaml.TypeError
	if !errors.As(err, &all) {
		return d.rephrase(err.Error())
	}
	var joined []error
	for _, text := range all.Errors {
		joined = append(joined, d.rephrase(text))
	}
	return errors.Join(joined...)
}

func (d *Document) rephrase(text string) error {
	place := func(line string) string { return d.name + ":" + line }
	if m := unknownField.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s: %w: unknown field %q: remove it, or correct its spelling", place(m[1]), ErrInvalid, m[2])
	}
	if m := duplicateField.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s: %w: field %q is also on line %s: keep one", place(m[1]), ErrInvalid, m[2], m[3])
	}
	if m := someLine.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s: %w: %s", place(m[1]), ErrInvalid, m[2])
	}
	return fmt.Errorf("%s: %w: %s", d.name, ErrInvalid, strings.TrimPrefix(text, "yaml: "))
}
