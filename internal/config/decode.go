package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/keeptrusts/kt/internal/diag"
)

// Decode fills into, a pointer, from v. Struct fields are named by their json
// tag; a field whose key is absent keeps its value, so that defaults are set
// before. Keys without a field and values of the wrong type are errors with
// their place. An absent or empty v changes nothing.
func (v Value) Decode(into any) diag.List {
	rv := reflect.ValueOf(into)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		panic(fmt.Sprintf("config: Decode into %T, which is not a pointer to something", into))
	}
	var out diag.List
	v.decode(rv.Elem(), &out)
	return out
}

func (v Value) decode(dst reflect.Value, out *diag.List) {
	if k := v.Kind(); k == Absent || k == Null || k == Invalid {
		return
	}
	wrong := func(want string) {
		*out = append(*out, v.Diag(diag.WrongType, diag.Error, fmt.Sprintf("%s must be %s; got %s", lastName(strings.Split(v.ptr, "/")), want, v.show()), ""))
	}
	if dst.CanAddr() {
		switch u := dst.Addr().Interface().(type) {
		case *Value:
			*u = v
			return
		case json.Unmarshaler:
			if err := u.UnmarshalJSON(v.JSON()); err != nil {
				*out = append(*out, v.Diag(diag.WrongForm, diag.Error, err.Error(), ""))
			}
			return
		case encoding.TextUnmarshaler:
			text, ok := v.Text()
			if !ok {
				wrong("a string")
				return
			}
			if err := u.UnmarshalText([]byte(text)); err != nil {
				*out = append(*out, v.Diag(diag.WrongForm, diag.Error, err.Error(), ""))
			}
			return
		}
	}
	switch dst.Kind() {
	case reflect.Pointer:
		if dst.IsNil() {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		v.decode(dst.Elem(), out)
	case reflect.Interface:
		if dst.NumMethod() != 0 {
			panic(fmt.Sprintf("config: Decode into interface %s", dst.Type()))
		}
		dst.Set(reflect.ValueOf(v.Any()))
	case reflect.Bool:
		b, ok := v.Bool()
		if !ok {
			wrong("true or false")
			return
		}
		dst.SetBool(b)
	case reflect.String:
		s, ok := v.Text()
		if !ok {
			wrong("a string")
			return
		}
		dst.SetString(s)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, ok := v.Int()
		if !ok || dst.OverflowInt(i) {
			wrong("a whole number")
			return
		}
		dst.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i, ok := v.Int()
		if !ok || i < 0 || dst.OverflowUint(uint64(i)) {
			wrong("a whole number that is not negative")
			return
		}
		dst.SetUint(uint64(i))
	case reflect.Float32, reflect.Float64:
		f, ok := v.Float()
		if !ok {
			wrong("a number")
			return
		}
		dst.SetFloat(f)
	case reflect.Slice:
		if v.Kind() != List {
			wrong("a list")
			return
		}
		s := reflect.MakeSlice(dst.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			v.Index(i).decode(s.Index(i), out)
		}
		dst.Set(s)
	case reflect.Map:
		if v.Kind() != Map {
			wrong("a map")
			return
		}
		m := reflect.MakeMapWithSize(dst.Type(), v.Len())
		for _, k := range v.Keys() {
			e := reflect.New(dst.Type().Elem()).Elem()
			v.Get(k).decode(e, out)
			m.SetMapIndex(reflect.ValueOf(k).Convert(dst.Type().Key()), e)
		}
		dst.Set(m)
	case reflect.Struct:
		if v.Kind() != Map {
			wrong("a map")
			return
		}
		fields := map[string]reflect.Value{}
		var names []string
		structFields(dst, fields, &names)
		for _, k := range v.Keys() {
			f, ok := fields[k]
			if !ok {
				hint := ""
				if near := diag.Nearest(k, names); near != "" {
					hint = "did you mean " + near + "?"
				}
				at := v.Get(k)
				*out = append(*out, at.KeyDiag(diag.UnknownKey, diag.Error, fmt.Sprintf("unknown key %q", shorten(k)), hint))
				continue
			}
			v.Get(k).decode(f, out)
		}
	default:
		panic(fmt.Sprintf("config: Decode into %s", dst.Type()))
	}
}

// structFields lists the fields of a struct by their json names, those of
// embedded structs included.
func structFields(s reflect.Value, fields map[string]reflect.Value, names *[]string) {
	t := s.Type()
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if sf.Anonymous && tag == "" && sf.Type.Kind() == reflect.Struct {
			structFields(s.Field(i), fields, names)
			continue
		}
		if !sf.IsExported() || tag == "-" {
			continue
		}
		if tag == "" {
			tag = sf.Name
		}
		fields[tag] = s.Field(i)
		*names = append(*names, tag)
	}
}
