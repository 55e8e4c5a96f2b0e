package docs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Settings that a reader copies can be read, and statements are ones that publishers take.
func TestBlocks(t *testing.T) {
	t.Parallel()
	blocks := 0
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language == "yaml" || b.language == "json" {
				blocks++
			}
			if err := b.check(); err != nil {
				t.Errorf("%s:%d: %v", d.path, b.line, err)
			}
		}
	}
	if blocks < 20 {
		t.Errorf("only %d blocks were looked at", blocks)
	}
}

func (b block) check() error {
	switch b.language {
	case "yaml":
		_, err := b.yaml()
		return err
	case "json":
		return checkJSON(b.text)
	}
	return nil
}

// yaml are the block's documents; a name that is there twice is an error.
func (b block) yaml() ([]*yaml.Node, error) {
	var all []*yaml.Node
	for decoder := yaml.NewDecoder(strings.NewReader(b.text)); ; {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		var value any
		if err == nil {
			err = node.Decode(&value)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, &node)
	}
}

var actions = []rotation.Action{rotation.Announce, rotation.Revoke, rotation.Lift, rotation.Enroll, rotation.Remove, rotation.Recover}

func checkJSON(text string) error {
	var order map[string]json.RawMessage // a struct would take AWS's "Statement", too
	if err := json.Unmarshal([]byte(text), &order); err != nil || order["statement"] == nil {
		return err
	}
	s, err := rotation.ParseStatement(order["statement"])
	if err != nil {
		return err
	}
	for _, action := range actions {
		if s.Action == action && s.Reason != "" && s.Issuer != "" {
			return nil
		}
	}
	return fmt.Errorf("no publisher takes the action %q with issuer %q for the reason %q", s.Action, s.Issuer, s.Reason)
}

func TestBadBlocks(t *testing.T) {
	t.Parallel()
	for text, bad := range map[string]bool{
		"```yaml\na: {b: [c]}\n---\nd: e\n```": false,
		"```yaml\na: [\n```":                   true,
		"```yaml\na: b\na: c\n```":             true,
		"```json\n{\"a\": 1}\n```":             false,
		"```json\n{\"Statement\": []}\n```":    false,
		"```json\n{\"a\": 1,}\n```":            true,
		"```json\n{\"statement\": {\"issuer\": \"https://h/p\", \"action\": \"revoke\", \"keyIDs\": [\"…\"], \"reason\": \"r\"}}\n```": false,
		"```json\n{\"statement\": {\"issuer\": \"https://h/p\", \"action\": \"revoke\", \"keyIDs\": [\"…\"]}}\n```":                    true,
		"```json\n{\"statement\": {\"issuer\": \"https://h/p\", \"action\": \"revoque\", \"reason\": \"r\"}}\n```":                     true,
		"```json\n{\"statement\": {\"issuer\": \"https://h/p\", \"action\": \"revoke\", \"keyIds\": [\"…\"], \"reason\": \"r\"}}\n```": true,
	} {
		d := parse("x.md", text)
		if len(d.blocks) != 1 {
			t.Fatalf("%q: %d blocks", text, len(d.blocks))
		}
		if err := d.blocks[0].check(); bad != (err != nil) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
