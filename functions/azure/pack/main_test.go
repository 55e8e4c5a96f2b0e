package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What does not belong there is not packed, and an earlier package stays.
func TestStrangeFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	handler, name := filepath.Join(folder, "handler"), filepath.Join(folder, "package.zip")
	app := filepath.Join(folder, "app")
	if err := os.Mkdir(app, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{handler: "program", name: "earlier", filepath.Join(app, "local.settings.json"): "{}"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pack(name, handler, app); err == nil || !strings.Contains(err.Error(), "local.settings.json") {
		t.Errorf("%v", err)
	}
	content, err := os.ReadFile(name)
	entries, _ := filepath.Glob(name + "*")
	if err != nil || string(content) != "earlier" || len(entries) != 1 {
		t.Errorf("%q, %v, beside it %q", content, err, entries)
	}
}
