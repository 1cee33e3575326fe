package jsonwalk

import (
	"fmt"
	"strings"
)

// NodeID numbers a node of a table. Unknown is 0: a place the schema does not
// describe, where everything is allowed and every string and key is text.
type NodeID uint16

// Unknown is the node of all places that the schema does not describe.
const Unknown NodeID = 0

// Kinds is a set of JSON types.
type Kinds uint8

// The JSON types. Key is a Leaf's kind only.
const (
	Null Kinds = 1 << iota
	Bool
	Number
	String
	Array
	Object
	Key // an object key that the table does not know

	Any = Null | Bool | Number | String | Array | Object
)

var kindNames = [...]string{"null", "boolean", "number", "string", "array", "object", "key"}

// String lists the types: "string, array or null".
func (k Kinds) String() string {
	var names []string
	for i, n := range kindNames {
		if i > 0 && k&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if k&Null != 0 {
		names = append(names, kindNames[0])
	}
	if n := len(names); n > 1 {
		names = append(names[:n-2], names[n-2]+" or "+names[n-1])
	}
	return strings.Join(names, ", ")
}

// Text says what the strings at a node are.
type Text uint8

// The classes of strings; the schemas' x-kt-text names them.
const (
	Scan   Text = iota // text: scanned
	Opaque             // not text (base64, padding): recorded, not scanned; the node says why
	Enum               // one of Node.Enum; any other value is text
	ID                 // an identifier that other fields refer to; scanned, but an edit breaks the reference
)

var textNames = [...]string{"scan", "opaque", "enum", "id"}

func (t Text) String() string { return textNames[t] }

// Slots is the number of array positions that a leaf carries.
const Slots = 4

// Node describes one place of a document. Tables are flat data, so that a
// generator can write them.
type Node struct {
	Name   string   // the place, for reports: messages[].content
	Kinds  Kinds    // allowed types
	Text   Text     // class of a string here
	Reason string   // why the string is opaque
	Enum   []string // the known values of an Enum
	First  uint16   // the node's fields are Table.Fields[First : First+Num]
	Num    uint16
	Elem   NodeID // array elements
	Extra  NodeID // values of keys that are not among the fields
	Tag    uint8  // for the dialect: what it does with the value; 0 nothing
	Slot   uint8  // 1..Slots: the element's position goes to Leaf.Index[Slot-1]; 0: to none
	Emit   bool   // a value here that is no string gives a leaf too
	Quiet  bool   // a string here gives no leaf: a copy of other text, or never text
	Count  bool   // elements count against Options.MaxItems
}

// Field is one known key of an object node.
type Field struct {
	Key  string
	Node NodeID
}

// Table is a document's description. Immutable after NewTable; safe for
// concurrent use.
type Table struct {
	Nodes  []Node  // Nodes[0] is the unknown node
	Fields []Field // of each node together, sorted by key
	Root   NodeID
}

// maxFields is how many known keys an object may have: one bit each for the
// check of duplicates.
const maxFields = 64

// NewTable checks a table: identifiers in range, fields sorted, no two keys of
// one object that differ only in case.
func NewTable(nodes []Node, fields []Field, root NodeID) (*Table, error) {
	t := &Table{Nodes: nodes, Fields: fields, Root: root}
	if len(nodes) == 0 || len(nodes) > 1<<15 || int(root) >= len(nodes) {
		return nil, fmt.Errorf("check field table: %d nodes, root %d: need the unknown node, and the root among the nodes", len(nodes), root)
	}
	if u := &nodes[Unknown]; u.Kinds != Any || u.Text != Scan || u.Num != 0 || u.Elem != Unknown || u.Extra != Unknown || u.Quiet {
		return nil, fmt.Errorf("check field table: node 0 must take any type, scan its strings and lead to itself")
	}
	for i := range nodes {
		n := &nodes[i]
		if n.Num > maxFields || int(n.First)+int(n.Num) > len(fields) || int(n.Elem) >= len(nodes) || int(n.Extra) >= len(nodes) || n.Slot > Slots {
			return nil, fmt.Errorf("check field table: node %d (%s) points out of the table or has more than %d fields", i, n.Name, maxFields)
		}
		if n.Kinds == 0 || n.Kinds&^Any != 0 || int(n.Text) >= len(textNames) || (n.Text == Opaque) != (n.Reason != "") || (n.Text == Enum) != (len(n.Enum) > 0) {
			return nil, fmt.Errorf("check field table: node %d (%s): no types, or an opaque string without a reason, or an enum without values", i, n.Name)
		}
		own := fields[n.First : n.First+n.Num]
		for j := range own {
			if int(own[j].Node) >= len(nodes) {
				return nil, fmt.Errorf("check field table: field %s of node %d (%s) points out of the table", own[j].Key, i, n.Name)
			}
			if string(AppendEscaped(nil, []byte(own[j].Key))) != own[j].Key {
				return nil, fmt.Errorf("check field table: field %q of node %d (%s) needs escapes in JSON", own[j].Key, i, n.Name)
			}
			if j > 0 && own[j-1].Key >= own[j].Key {
				return nil, fmt.Errorf("check field table: fields %s and %s of node %d (%s) are not in order", own[j-1].Key, own[j].Key, i, n.Name)
			}
			for k := range own[:j] {
				if foldEqual(own[k].Key, []byte(own[j].Key)) {
					return nil, fmt.Errorf("check field table: fields %s and %s of node %d (%s) differ only in case", own[k].Key, own[j].Key, i, n.Name)
				}
			}
		}
	}
	return t, nil
}

// Known tells whether raw, the content of a string at the node, is one of the
// node's enum values.
func (t *Table) Known(id NodeID, raw []byte) bool {
	for _, v := range t.Nodes[id].Enum {
		if string(raw) == v {
			return true
		}
	}
	return false
}

// foldEqual tells whether key, decoded, is known but for the case of its
// letters. Besides ASCII it folds the characters whose simple fold or lower or
// upper case is an ASCII letter: long s (U+017F), the Kelvin sign (U+212A),
// dotless i (U+0131) and dotted I (U+0130).
func foldEqual(known string, key []byte) bool {
	j := 0
	for i := 0; i < len(known); i++ {
		if j >= len(key) {
			return false
		}
		c := key[j]
		j++
		if c >= 0x80 {
			switch {
			case c == 0xC5 && j < len(key) && key[j] == 0xBF:
				c, j = 's', j+1
			case c == 0xC4 && j < len(key) && (key[j] == 0xB0 || key[j] == 0xB1):
				c, j = 'i', j+1
			case c == 0xE2 && j+1 < len(key) && key[j] == 0x84 && key[j+1] == 0xAA:
				c, j = 'k', j+2
			default:
				return false
			}
		}
		if lower(c) != lower(known[i]) {
			return false
		}
	}
	return j == len(key)
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c += 'a' - 'A'
	}
	return c
}
