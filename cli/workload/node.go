package workload

import (
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// member is the value of a mapping's key, or nil.
func member(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func descend(node *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		node = member(node, key)
	}
	return node
}

func text(mapping *yaml.Node, key string) string {
	if value := member(mapping, key); value != nil && value.Kind == yaml.ScalarNode {
		return value.Value
	}
	return ""
}

// sequence is the list of a mapping's key, made if it is not there.
func sequence(mapping *yaml.Node, key string) (*yaml.Node, error) {
	value := member(mapping, key)
	switch {
	case value == nil:
		value = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		*value = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", HeadComment: value.HeadComment, LineComment: value.LineComment}
	case value.Kind != yaml.SequenceNode:
		return nil, fmt.Errorf("line %d: %s is no list", value.Line, key)
	}
	return value, nil
}

// element is the list's mapping of a name, or nil.
func element(list *yaml.Node, key, name string) *yaml.Node {
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	for _, each := range list.Content {
		if text(each, key) == name {
			return each
		}
	}
	return nil
}

// put makes the list's mapping of a name equal to value, which has that name; it reports whether it was not.
func put(list *yaml.Node, key, name string, value any) (bool, error) {
	var wanted yaml.Node
	if err := wanted.Encode(value); err != nil {
		return false, err
	}
	found := element(list, key, name)
	if found == nil {
		list.Content = append(list.Content, &wanted)
		return true, nil
	}
	keepMode(found, &wanted)
	if equal(found, &wanted) {
		return false, nil
	}
	wanted.HeadComment, wanted.LineComment, wanted.FootComment, wanted.Style = found.HeadComment, found.LineComment, found.FootComment, found.Style
	*found = wanted
	return true, nil
}

// keepMode leaves a volume the mode of its files: the API server writes one into each.
func keepMode(before, after *yaml.Node) {
	for _, kind := range []string{"projected", "configMap"} {
		mode, files := descend(before, kind, "defaultMode"), member(after, kind)
		if mode != nil && files != nil {
			files.Content = append(files.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "defaultMode"}, mode)
		}
	}
}

// equal compares what two nodes say.
func equal(a, b *yaml.Node) bool {
	var x, y any
	return a.Decode(&x) == nil && b.Decode(&y) == nil && reflect.DeepEqual(x, y)
}

// hasAlias reports whether something of a node is written elsewhere, so that changing it would change that, too.
func hasAlias(node *yaml.Node) bool {
	if node == nil {
		return false
	}
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		return true
	}
	for _, each := range node.Content {
		if hasAlias(each) {
			return true
		}
	}
	return false
}
