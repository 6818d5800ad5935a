package pipeline

import "github.com/go-json-experiment/json/jsontext"

// Elements returns the elements of a list in order, each as it was written, and
// whether v is a list.
func (v Value) Elements() ([]Value, bool) {
	if v.Kind() != '[' {
		return nil, false
	}
	list := []Value{}
	i := skipSpace(v.s, 1)
	for i < len(v.s) && v.s[i] != ']' {
		end := skipValue(v.s, i)
		if end == i {
			break // not valid JSON: RawJSON does not check
		}
		list = append(list, Value{s: v.s[i:end]})
		if i = skipSpace(v.s, end); i < len(v.s) && v.s[i] == ',' {
			i = skipSpace(v.s, i+1)
		}
	}
	return list, true
}

// Members returns the members of an object in order, each as it was written, and
// whether v is an object. A name may be repeated; the last one counts.
func (v Value) Members() ([]Field, bool) {
	if v.Kind() != '{' {
		return nil, false
	}
	return indexObject(v.s), true
}

// Member returns the value of an object's member and whether it is there. It is
// not in a value that is no object.
func (v Value) Member(name string) (Value, bool) {
	members, _ := v.Members()
	for i := len(members) - 1; i >= 0; i-- {
		if members[i].Name == name {
			return members[i].Value, true
		}
	}
	return Value{}, false
}

// AppendText appends what [Value.Text] returns to dst.
func (v Value) AppendText(dst []byte) []byte {
	if v.text || v.Kind() != '"' {
		return append(dst, v.Text()...)
	}
	dst, _ = jsontext.AppendUnquote(dst, v.s) // valid: it was checked on reading
	return dst
}
