package runtime

// Template is a part of a pod, in YAML, that an operator wants in the pods made here.
type Template struct {
	Name string // for messages
	Data []byte
}
