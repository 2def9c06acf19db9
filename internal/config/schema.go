package config

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Schema returns the JSON Schema (2020-12) of a document, for editors. It is
// made from the types that Decode uses; policies gives the config type of each
// policy by its path in the catalog. Keys that this build does not enforce are
// not in it.
//
// A scalar that a type reads as text may be a string, number or boolean here:
// editors judge it after YAML has guessed, Decode before.
func Schema(policies map[string]reflect.Type) ([]byte, error) {
	g := generator{policies: policies, defs: map[string]any{}}
	root := g.of(reflect.TypeFor[Document](), words{})
	return json.MarshalIndent(object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "Warder configuration",
		"$ref":    root["$ref"],
		"$defs":   g.defs,
	}, "", "  ")
}

type object = map[string]any

type generator struct {
	policies map[string]reflect.Type
	defs     map[string]any // by type
}

func text() object { return object{"type": []string{"string", "number", "boolean"}} }

func (g *generator) of(t reflect.Type, w words) object {
	switch {
	case t.Kind() == reflect.Pointer:
		return g.of(t.Elem(), w)
	case t == nodeType:
		return object{}
	case t == fileType, t == addressType, t == secretType:
		return object{"type": "string"}
	}
	own := reflect.New(t).Interface()
	if _, ok := own.(named); ok {
		value, _ := t.Elem().FieldByName("Value")
		return object{
			"type":                 "object",
			"propertyNames":        object{"pattern": `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`},
			"additionalProperties": g.of(value.Type, words{}),
		}
	}
	var forms []any
	switch own.(type) {
	case *Auth:
		forms = append(forms, object{"const": "none"})
	case *Counters:
		forms = append(forms, object{"type": "string"})
	case *Upstream:
		forms = append(forms, g.of(reflect.TypeFor[[]Target](), words{}))
	case encoding.TextUnmarshaler:
		forms = append(forms, text())
	}
	switch t.Kind() {
	case reflect.Struct:
		if len(fieldsOf(t)) > 0 || len(forms) == 0 || isCataloguer(own) {
			forms = append(forms, g.ref(t))
		}
	case reflect.Slice:
		if len(forms) > 0 {
			break // read from text
		}
		one := g.of(t.Elem(), w)
		if _, single := own.(interface{ OneOrMany() }); single {
			forms = append(forms, one)
		}
		forms = append(forms, object{"type": "array", "items": one})
	case reflect.Map:
		forms = append(forms, object{"type": "object", "additionalProperties": g.of(t.Elem(), words{})})
	default:
		if len(forms) == 0 {
			forms = append(forms, plainSchema(t, w))
		}
	}
	if len(forms) == 1 {
		return forms[0].(object)
	}
	return object{"anyOf": forms}
}

func isCataloguer(v any) bool {
	_, ok := v.(cataloguer)
	return ok
}

func plainSchema(t reflect.Type, w words) object {
	if w.enum != nil {
		var all []any
		for _, word := range w.enum {
			if t.Kind() == reflect.String {
				all = append(all, word)
			}
			// 1.2 is a number to an editor, whatever we take it for.
			if strings.Trim(word, "0123456789.") == "" {
				all = append(all, json.Number(word))
			}
		}
		return object{"enum": all}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return text()
	default:
		return object{"type": "integer"}
	}
}

// ref defines a struct once and refers to it.
func (g *generator) ref(t reflect.Type) object {
	name := t.String()
	if _, done := g.defs[name]; !done {
		g.defs[name] = nil // a type may hold itself
		g.defs[name] = g.structure(t)
	}
	return object{"$ref": "#/$defs/" + name}
}

func (g *generator) structure(t reflect.Type) object {
	properties := object{}
	var required []string
	for _, f := range fieldsOf(t) {
		properties[f.name] = g.of(t.FieldByIndex(f.index).Type, f.words)
		if f.required {
			required = append(required, f.name)
		}
	}
	if c, ok := reflect.New(t).Interface().(cataloguer); ok {
		prefix, _ := c.catalog()
		for path, config := range g.policies {
			key, ok := strings.CutPrefix(path, prefix)
			if ok && !strings.Contains(key, ".") {
				properties[key] = g.of(config, words{})
			}
		}
		if key, ok := strings.CutPrefix(pathNone, prefix); ok && !strings.Contains(key, ".") {
			properties[key] = object{"const": true}
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if t == reflect.TypeFor[Issuer]() {
		s["anyOf"] = []any{object{"required": []string{"issuer"}}, object{"required": []string{"preset"}}}
	}
	if len(required) > 0 {
		slices.Sort(required)
		s["required"] = required
	}
	return s
}
