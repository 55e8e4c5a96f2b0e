package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrFolder means that the folder for the plan's files has something in it, or is none.
var ErrFolder = errors.New("not an empty folder")

const accountsFile = "1-service-accounts.yaml"

// file names tell roles of two accounts apart.
func (r Role) file() string { return filepath.Join("2-trust", r.fileName()+".json") }

func (r Role) beforeFile() string { return filepath.Join("5-way-back", "trust", r.fileName()+".json") }

func (r Role) fileName() string {
	_, id := accountOf(r.ARN)
	return id + "." + lastPart(r.ARN)
}

func (w Workload) file(step string) string {
	name := w.Namespace + "." + strings.ToLower(w.Kind) + "." + w.Name + "." + step + ".json"
	if strings.HasPrefix(step, "undo") {
		return filepath.Join("5-way-back", name)
	}
	return filepath.Join("3-workloads", name)
}

// Write puts the plan's files into a new folder, or an empty one. The error is ErrFolder if there is something in it: an old plan's file among a new
// one's would be carried out with them.
func (p *Plan) Write(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("%w: %w", ErrFolder, err)
	case len(entries) > 0:
		return fmt.Errorf("%w: %s has %s in it; name a new one", ErrFolder, dir, entries[0].Name())
	}
	files, err := p.files()
	if err != nil {
		return err
	}
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) files() (map[string][]byte, error) {
	var text bytes.Buffer
	if err := p.text(&text, true); err != nil {
		return nil, err
	}
	whole, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"PLAN.txt": text.Bytes(), "plan.json": append(whole, '\n')}
	add := func(name string, document json.RawMessage) {
		if document != nil {
			files[name] = []byte(indented(document) + "\n")
		}
	}
	if manifests := p.manifests(); len(manifests) > 0 {
		files[accountsFile] = manifests
	}
	for _, r := range p.Roles {
		add(r.file(), r.Document)
		add(r.beforeFile(), r.Before)
	}
	for _, w := range p.Workloads {
		add(w.file("switch"), first(w.Switch, w.Replacement))
		add(w.file("finish"), w.Finish)
		add(w.file("undo-finish"), w.UndoFinish)
		add(w.file("undo-switch"), first(w.UndoSwitch, w.Original))
	}
	return files, nil
}

func first(a, b json.RawMessage) json.RawMessage {
	if a != nil {
		return a
	}
	return b
}
