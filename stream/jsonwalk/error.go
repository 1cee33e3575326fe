package jsonwalk

import "fmt"

// Code says what is wrong with a document; its name goes to the client.
type Code uint8

// The codes.
const (
	UnexpectedEnd       Code = iota + 1 // the document stops early, or is empty
	UnexpectedCharacter                 // some other character than the grammar allows here
	ByteOrderMark                       // the document begins with a byte order mark, or is UTF-16 or UTF-32
	TrailingData                        // something follows the document
	BadLiteral                          // not true, false or null
	BadNumber                           // not a number of the JSON grammar
	BadEscape                           // a backslash that begins no escape
	ControlCharacter                    // a raw byte below 0x20 inside a string
	InvalidUTF8                         // bytes that are no UTF-8 (overlong and surrogate forms among them)
	LoneSurrogate                       // half of a surrogate pair
	DuplicateKey                        // a key twice in one object, however it is spelled
	CaseVariantKey                      // a key that is a known one but for its case
	Depth                               // nested deeper than the limit
	TooManyItems                        // more counted elements (messages, parts) than the limit
	TooManyKeys                         // more unknown keys than the limit
	TooManyStrings                      // more strings than the limit
	TooLarge                            // larger than a span can address
	WrongType                           // well-formed, but a known field has a type that it cannot have
)

var codeNames = [...]string{
	"", "unexpected_end", "unexpected_character", "byte_order_mark", "trailing_data", "bad_literal", "bad_number", "bad_escape",
	"control_character", "invalid_utf8", "lone_surrogate", "duplicate_key", "case_variant_key", "depth", "too_many_items",
	"too_many_keys", "too_many_strings", "too_large", "wrong_type",
}

func (c Code) String() string { return codeNames[c] }

// Error is a refused document. It never holds text of the document: Path names
// known fields and positions only, a * stands for any other key.
type Error struct {
	Code   Code
	Offset int    // byte offset where it showed
	Path   string // messages[3].content[0].*
	Want   Kinds  // the types allowed, for WrongType
}

func (e *Error) Error() string {
	path := e.Path
	if path == "" {
		path = "the top level"
	}
	if e.Code == WrongType {
		return fmt.Sprintf("read JSON: wrong_type at %s (byte %d): need %s", path, e.Offset, e.Want)
	}
	return fmt.Sprintf("read JSON: %s at %s (byte %d)", e.Code, path, e.Offset)
}

// Validation tells that the document is well-formed JSON (status 422, not 400).
func (e *Error) Validation() bool { return e.Code == WrongType }
