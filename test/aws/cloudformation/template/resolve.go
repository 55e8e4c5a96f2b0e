package template

import (
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Scope is what expressions speak of besides the template.
type Scope struct {
	Values    map[string]any                     // pseudo parameters and parameters by name
	Ref       func(id string) (any, error)       // of a resource
	Attribute func(id, name string) (any, error) // of a resource
}

// Missing is the value of AWS::NoValue: whatever holds it is left out.
type missing struct{}

// Resolve returns a value with its expressions replaced by what they come to.
func (t *Template) Resolve(value any, scope Scope) (any, error) {
	r := resolver{t, scope, map[string]bool{}}
	result, err := r.value(value)
	if _, gone := result.(missing); gone {
		return nil, err
	}
	return result, err
}

// Wanted says whether a condition holds; the empty one does.
func (t *Template) Wanted(condition string, scope Scope) (bool, error) {
	if condition == "" {
		return true, nil
	}
	r := resolver{t, scope, map[string]bool{}}
	return r.condition(condition)
}

type resolver struct {
	template *Template
	scope    Scope
	asked    map[string]bool // conditions on the way to this one
}

func (r resolver) value(value any) (any, error) {
	switch v := value.(type) {
	case []any:
		return r.list(v)
	case map[string]any:
		if name, argument, ok := function(v); ok {
			return r.call(name, argument)
		}
		return r.object(v)
	default:
		return value, nil
	}
}

func (r resolver) list(list []any) ([]any, error) {
	result := make([]any, 0, len(list))
	for _, item := range list {
		resolved, err := r.value(item)
		if err != nil {
			return nil, err
		}
		if _, gone := resolved.(missing); !gone {
			result = append(result, resolved)
		}
	}
	return result, nil
}

func (r resolver) object(object map[string]any) (map[string]any, error) {
	result := make(map[string]any, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		resolved, err := r.value(object[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if _, gone := resolved.(missing); !gone {
			result[key] = resolved
		}
	}
	return result, nil
}

// function tells a call of an intrinsic function from a plain object.
func function(object map[string]any) (name string, argument any, ok bool) {
	if len(object) != 1 {
		return "", nil, false
	}
	for name, argument = range object { // the only one
	}
	return name, argument, name == "Ref" || name == "Condition" && isString(argument) || strings.HasPrefix(name, "Fn::")
}

func isString(value any) bool { _, ok := value.(string); return ok }

func (r resolver) call(name string, argument any) (any, error) {
	result, err := r.apply(name, argument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return result, nil
}

func (r resolver) apply(name string, argument any) (any, error) {
	switch name {
	case "Ref":
		target, _ := argument.(string)
		return r.ref(target)
	case "Fn::GetAtt":
		id, attribute, err := attribute(argument)
		if err != nil {
			return nil, err
		}
		return r.scope.Attribute(id, attribute)
	case "Fn::Sub":
		return r.sub(argument)
	case "Fn::If":
		return r.choose(argument)
	case "Condition", "Fn::Equals", "Fn::And", "Fn::Or", "Fn::Not":
		return r.truth(name, argument)
	}
	resolved, err := r.value(argument)
	if err != nil {
		return nil, err
	}
	return r.plain(name, resolved)
}

// plain functions know only their resolved arguments.
func (r resolver) plain(name string, argument any) (any, error) {
	list, _ := argument.([]any)
	switch {
	case name == "Fn::Join" && len(list) == 2:
		parts, err := texts(list[1])
		separator, ok := list[0].(string)
		if err == nil && ok {
			return strings.Join(parts, separator), nil
		}
	case name == "Fn::Select" && len(list) == 2:
		index, err := strconv.Atoi(fmt.Sprint(list[0]))
		of, ok := list[1].([]any)
		if err == nil && ok && index >= 0 && index < len(of) {
			return of[index], nil
		}
	case name == "Fn::Split" && len(list) == 2 && isString(list[0]) && isString(list[1]):
		var parts []any
		for _, part := range strings.Split(list[1].(string), list[0].(string)) {
			parts = append(parts, part)
		}
		return parts, nil
	case name == "Fn::FindInMap" && len(list) == 3:
		if found, ok := r.template.Mappings[fmt.Sprint(list[0])][fmt.Sprint(list[1])][fmt.Sprint(list[2])]; ok {
			return found, nil
		}
	case name == "Fn::Base64" && isString(argument):
		return base64.StdEncoding.EncodeToString([]byte(argument.(string))), nil
	default:
		return nil, fmt.Errorf("%w: this function is not known here, or not with %v", ErrTemplate, argument)
	}
	return nil, fmt.Errorf("%w: it can't be used with %v", ErrTemplate, argument)
}

func (r resolver) ref(target string) (any, error) {
	if target == "AWS::NoValue" {
		return missing{}, nil
	}
	if value, known := r.scope.Values[target]; known {
		return value, nil
	}
	if _, known := r.template.Resources[target]; known {
		return r.scope.Ref(target)
	}
	return nil, fmt.Errorf("%w: nothing here is called %q", ErrTemplate, target)
}

func (r resolver) sub(argument any) (any, error) {
	text, variables, err := substitution(argument)
	if err != nil {
		return nil, err
	}
	var failed error
	result := placeholder.ReplaceAllStringFunc(text, func(match string) string {
		name := match[2 : len(match)-1]
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			return "${" + literal + "}"
		}
		value, err := r.variable(name, variables)
		if err != nil {
			failed = fmt.Errorf("%s: %w", name, err)
		}
		return value
	})
	return result, failed
}

func (r resolver) variable(name string, variables map[string]any) (string, error) {
	var value any
	var err error
	own, ok := variables[name]
	id, attribute, dotted := strings.Cut(name, ".")
	switch {
	case ok:
		value, err = r.value(own)
	case dotted:
		value, err = r.scope.Attribute(id, attribute)
	default:
		value, err = r.ref(name)
	}
	if err != nil {
		return "", err
	}
	return text(value)
}

// text is a scalar as CloudFormation writes it into a string.
func text(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	}
	return "", fmt.Errorf("%w: %v is no text", ErrTemplate, value)
}

func texts(value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("%w: %v is no list", ErrTemplate, value)
	}
	var result []string
	for _, item := range list {
		part, err := text(item)
		if err != nil {
			return nil, err
		}
		result = append(result, part)
	}
	return result, nil
}

// attribute reads the argument of Fn::GetAtt: a list of two, or "Resource.Attribute".
func attribute(argument any) (id, name string, err error) {
	switch v := argument.(type) {
	case string:
		id, name, _ = strings.Cut(v, ".")
	case []any:
		if len(v) == 2 {
			id, _ = v[0].(string)
			name, _ = v[1].(string)
		}
	}
	if id == "" || name == "" {
		return "", "", fmt.Errorf("%w: Fn::GetAtt of %v", ErrTemplate, argument)
	}
	return id, name, nil
}

// substitution reads the argument of Fn::Sub: a text, or a list of a text and variables.
func substitution(argument any) (string, map[string]any, error) {
	switch v := argument.(type) {
	case string:
		return v, nil, nil
	case []any:
		if len(v) == 2 {
			text, isText := v[0].(string)
			variables, isObject := v[1].(map[string]any)
			if isText && isObject {
				return text, variables, nil
			}
		}
	}
	return "", nil, fmt.Errorf("%w: Fn::Sub of %v", ErrTemplate, argument)
}

func (r resolver) choose(argument any) (any, error) {
	list, _ := argument.([]any)
	if len(list) != 3 || !isString(list[0]) {
		return nil, fmt.Errorf("%w: want a condition and two values", ErrTemplate)
	}
	holds, err := r.condition(list[0].(string))
	switch {
	case err != nil:
		return nil, err
	case holds:
		return r.value(list[1])
	}
	return r.value(list[2])
}

func (r resolver) condition(name string) (bool, error) {
	expression, known := r.template.Conditions[name]
	if !known || r.asked[name] {
		return false, fmt.Errorf("%w: the condition %s is missing, or asks itself", ErrTemplate, name)
	}
	r.asked[name] = true
	defer delete(r.asked, name)
	result, err := r.value(expression)
	if err != nil {
		return false, fmt.Errorf("condition %s: %w", name, err)
	}
	holds, ok := result.(bool)
	if !ok {
		return false, fmt.Errorf("%w: the condition %s is neither true nor false", ErrTemplate, name)
	}
	return holds, nil
}

func (r resolver) truth(name string, argument any) (any, error) {
	if name == "Condition" {
		return r.condition(argument.(string))
	}
	list, ok := argument.([]any)
	if !ok {
		return nil, fmt.Errorf("%w: want a list", ErrTemplate)
	}
	values, err := r.list(list)
	if err != nil {
		return nil, err
	}
	if name == "Fn::Equals" {
		if len(values) != 2 {
			return nil, fmt.Errorf("%w: want two values", ErrTemplate)
		}
		return reflect.DeepEqual(values[0], values[1]), nil
	}
	return combine(name, values)
}

func combine(name string, values []any) (any, error) {
	trues := 0
	for _, value := range values {
		holds, ok := value.(bool)
		if !ok {
			return nil, fmt.Errorf("%w: %v is neither true nor false", ErrTemplate, value)
		}
		if holds {
			trues++
		}
	}
	switch {
	case name == "Fn::Not" && len(values) == 1:
		return trues == 0, nil
	case name == "Fn::And" && len(values) > 1:
		return trues == len(values), nil
	case name == "Fn::Or" && len(values) > 1:
		return trues > 0, nil
	}
	return nil, fmt.Errorf("%w: %d values", ErrTemplate, len(values))
}
