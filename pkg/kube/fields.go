package kube

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Field is one difference. Old or New is empty when the field is absent on that side.
type Field struct {
	Path string `json:"path"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

func (f Field) String() string {
	switch {
	case f.Old == "":
		return fmt.Sprintf("%s: %s (new)", f.Path, f.New)
	case f.New == "":
		return fmt.Sprintf("%s: %s (removed)", f.Path, f.Old)
	}
	return fmt.Sprintf("%s: %s -> %s", f.Path, f.Old, f.New)
}

// bookkeeping are fields that the API server keeps itself.
//
//nolint:gochecknoglobals // a constant table
var bookkeeping = [][]string{
	{"metadata", "managedFields"}, {"metadata", "resourceVersion"}, {"metadata", "generation"},
	{"metadata", "uid"}, {"metadata", "creationTimestamp"}, {"metadata", "selfLink"}, {"status"},
}

// hidden stands for every value of a Secret.
const hidden = "(hidden)"

// compare lists the leaf fields in which two objects differ, sorted by path.
func compare(live, applied *unstructured.Unstructured) []Field {
	a, b := live.DeepCopy().Object, applied.DeepCopy().Object
	for _, path := range bookkeeping {
		unstructured.RemoveNestedField(a, path...)
		unstructured.RemoveNestedField(b, path...)
	}
	var fields []Field
	walk("", a, b, &fields)
	if live.GetKind() == "Secret" {
		for i := range fields {
			fields[i] = hide(fields[i])
		}
	}
	slices.SortFunc(fields, func(x, y Field) int { return strings.Compare(x.Path, y.Path) })
	return fields
}

func hide(f Field) Field {
	if strings.HasPrefix(f.Path, "metadata.") && !strings.HasPrefix(f.Path, "metadata.annotations") {
		return f // kubectl keeps a copy of the data in an annotation
	}
	if f.Old != "" {
		f.Old = hidden
	}
	if f.New != "" {
		f.New = hidden
	}
	return f
}

func walk(path string, a, b any, out *[]Field) {
	if reflect.DeepEqual(a, b) {
		return
	}
	am, aIsMap := a.(map[string]any)
	bm, bIsMap := b.(map[string]any)
	if (aIsMap || a == nil) && (bIsMap || b == nil) {
		for _, k := range keys(am, bm) {
			walk(join(path, k), am[k], bm[k], out)
		}
		return
	}
	as, aIsList := a.([]any)
	bs, bIsList := b.([]any)
	if aIsList && bIsList && len(as) == len(bs) {
		for i := range as {
			walk(fmt.Sprintf("%s[%d]", path, i), as[i], bs[i], out)
		}
		return
	}
	*out = append(*out, Field{Path: path, Old: show(a), New: show(b)})
}

func keys(a, b map[string]any) []string {
	var all []string
	for k := range a {
		all = append(all, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	return all
}

func join(path, key string) string {
	if strings.ContainsAny(key, "./") {
		key = fmt.Sprintf("[%q]", key)
		return path + key
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// show prints a value on one line, cut where nobody reads on.
func show(v any) string {
	if v == nil {
		return ""
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const limit = 120
	if text := []rune(string(data)); len(text) > limit {
		return string(text[:limit]) + "…"
	}
	return string(data)
}
