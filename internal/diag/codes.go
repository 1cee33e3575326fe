package diag

import "strings"

// Code is the number of a fault. Numbers are never reused.
type Code string

// The codes. Families: KT1 YAML and schema, KT2 policy semantics, KT3
// providers and routing, KT4 secrets and environment, KT5 generator, KT6 run
// time, KT7 policy tests.
const (
	Syntax          Code = "KT1001"
	NotUTF8         Code = "KT1002"
	ControlChar     Code = "KT1003"
	ByteOrderMark   Code = "KT1004"
	TooLarge        Code = "KT1005"
	TooDeep         Code = "KT1006"
	TooManyNodes    Code = "KT1007"
	ManyDocuments   Code = "KT1008"
	EmptyFile       Code = "KT1009"
	DuplicateKey    Code = "KT1010"
	AnchorOrAlias   Code = "KT1011"
	KeyNotString    Code = "KT1012"
	ExplicitTag     Code = "KT1013"
	NumberForm      Code = "KT1014"
	Timestamp       Code = "KT1015"
	Directive       Code = "KT1016"
	NotAMap         Code = "KT1017"
	UnknownKey      Code = "KT1101"
	WrongType       Code = "KT1102"
	NotInRange      Code = "KT1103"
	NotInSet        Code = "KT1104"
	MissingKey      Code = "KT1105"
	WrongForm       Code = "KT1106"
	WrongLength     Code = "KT1107"
	OldPlace        Code = "KT1108"
	NotBuiltYet     Code = "KT1109"
	NotSupported    Code = "KT1110"
	BothOfPair      Code = "KT1111"
	SchemaOther     Code = "KT1199"
	UnknownKind     Code = "KT2001"
	KindNotBuilt    Code = "KT2002"
	FieldNotBuilt   Code = "KT2003"
	NeedsBlock      Code = "KT2004"
	DuplicateKind   Code = "KT2005"
	UnusedBlock     Code = "KT2006"
	EmptyChain      Code = "KT2007"
	ChainTooLong    Code = "KT2008"
	BadCondition    Code = "KT2009"
	AliasField      Code = "KT2010"
	FormConflict    Code = "KT2011"
	PackOff         Code = "KT2012"
	BadPattern      Code = "KT2101"
	BareCategory    Code = "KT2102"
	ParamRange      Code = "KT2103"
	PatternBudget   Code = "KT2104"
	NoEffect        Code = "KT2105"
	BuffersChannel  Code = "KT2106"
	Unenforceable   Code = "KT2107"
	PartlyCovered   Code = "KT2108"
	UnusedDistance  Code = "KT2109"
	PatternLong     Code = "KT2110"
	LazyRepeat      Code = "KT2111"
	Doubtful        Code = "KT2112"
	DuplicateTarget Code = "KT3001"
	UnknownProvider Code = "KT3002"
	ProviderForm    Code = "KT3003"
	BadBaseURL      Code = "KT3004"
	PlainHTTP       Code = "KT3005"
	UnknownTarget   Code = "KT3006"
	UnknownStrategy Code = "KT3007"
	ModelMissing    Code = "KT3008"
	BadDuration     Code = "KT3009"
	HeaderRefused   Code = "KT3010"
	NoTargets       Code = "KT3011"
	WeightZero      Code = "KT3012"
	GroupCycle      Code = "KT3013"
	DuplicateGroup  Code = "KT3014"
	UnknownTrigger  Code = "KT3015"
	EgressRefused   Code = "KT3016"
	ModelTwice      Code = "KT3017"
	SecretInline    Code = "KT4001"
	SecretRefForm   Code = "KT4002"
	SecretMissing   Code = "KT4003"
	SecretStore     Code = "KT4004"
	SecretFileMode  Code = "KT4005"
	SecretUnclean   Code = "KT4006"
	EnvInvalid      Code = "KT4007"
	EnvUnknown      Code = "KT4008"
	GenFailed       Code = "KT5001"
	GenStale        Code = "KT5002"
	GenUnclassified Code = "KT5003"
	GenName         Code = "KT5004"
	GenBudget       Code = "KT5005"
	RunListen       Code = "KT6001"
	RunNoTarget     Code = "KT6002"
	RunNotCompiled  Code = "KT6003"
	RunOpenListen   Code = "KT6004"
	RunOverride     Code = "KT6005"
	RunNoReporting  Code = "KT6006"
	RunDataDir      Code = "KT6007"
	RunFailOpen     Code = "KT6008"
	TestFileForm    Code = "KT7001"
	TestNameTwice   Code = "KT7002"
	TestVerdict     Code = "KT7003"
	TestNoCases     Code = "KT7004"
	TestNoEffect    Code = "KT7005"
	TestAssertion   Code = "KT7006"
)

// meanings has one line for every code, in the order of the numbers.
var meanings = []struct {
	code Code
	text string
}{
	{Syntax, "the file is not well-formed YAML"},
	{NotUTF8, "the file is not valid UTF-8"},
	{ControlChar, "the file holds a control character or NUL"},
	{ByteOrderMark, "the file starts with a byte order mark"},
	{TooLarge, "the file is larger than the limit"},
	{TooDeep, "lists and maps are nested deeper than the limit"},
	{TooManyNodes, "the file has more values than the limit"},
	{ManyDocuments, "the file holds a second YAML document"},
	{EmptyFile, "the file is empty or holds comments only"},
	{DuplicateKey, "a key appears twice in one map"},
	{AnchorOrAlias, "anchors, aliases and merge keys are not accepted"},
	{KeyNotString, "a key is not a plain string"},
	{ExplicitTag, "explicit YAML tags are not accepted"},
	{NumberForm, "a number is not written in plain decimal form"},
	{Timestamp, "an unquoted date or time"},
	{Directive, "YAML directives are not accepted"},
	{NotAMap, "the file's top level is not a map"},
	{UnknownKey, "a key that this place does not know"},
	{WrongType, "a value of the wrong type"},
	{NotInRange, "a number outside its range"},
	{NotInSet, "a value that is not one of the accepted ones"},
	{MissingKey, "a required key is missing"},
	{WrongForm, "a string that does not have the required form"},
	{WrongLength, "a list, map or string that is too short or too long"},
	{OldPlace, "an older spelling; the message names the key to use"},
	{NotBuiltYet, "documented, but not built yet in this version"},
	{NotSupported, "documented elsewhere, but not supported by this gateway"},
	{BothOfPair, "two spellings of one setting are both present"},
	{SchemaOther, "another rule of the schema is broken"},
	{UnknownKind, "a policy kind that does not exist"},
	{KindNotBuilt, "a documented policy kind that is not built yet in this version"},
	{FieldNotBuilt, "a documented field or value of a policy kind that is not built yet"},
	{NeedsBlock, "a kind in the chain needs a policy block and has none"},
	{DuplicateKind, "a kind appears twice in the chain"},
	{UnusedBlock, "a policy block whose kind is not in the chain"},
	{EmptyChain, "the chain has no policy"},
	{ChainTooLong, "the chain has more policies than the limit"},
	{BadCondition, "a condition of a chain entry that cannot be used"},
	{AliasField, "an older spelling of a field was accepted"},
	{FormConflict, "the short and the long form of one setting are both present"},
	{PackOff, "the pack is switched off"},
	{BadPattern, "a pattern that does not compile"},
	{BareCategory, "a pattern that looks like a category name"},
	{ParamRange, "a parameter outside its range"},
	{PatternBudget, "a pattern that needs more states than the budget allows"},
	{NoEffect, "a setting without effect"},
	{BuffersChannel, "a policy that makes its channels buffered"},
	{Unenforceable, "a rule that cannot be enforced on a route or channel"},
	{PartlyCovered, "a documented promise that is covered in part"},
	{UnusedDistance, "max_distance without fuzzy_matching"},
	{PatternLong, "a pattern whose matches could be longer than a match may be (8,000 bytes): they are cut there"},
	{LazyRepeat, "a pattern with a lazy repeat (*?, +?, ??, {n,m}?): matches are the longest all the same"},
	{Doubtful, "a pattern or a term that is valid and most likely not what was meant; the message says why"},
	{DuplicateTarget, "two targets have one id"},
	{UnknownProvider, "a provider that does not exist"},
	{ProviderForm, "a provider that is not <id> or <id>:<kind>:<model>"},
	{BadBaseURL, "a base_url that cannot be used"},
	{PlainHTTP, "plain http to a host where it is not allowed"},
	{UnknownTarget, "a reference to a target that does not exist"},
	{UnknownStrategy, "a routing strategy that does not exist"},
	{ModelMissing, "a target without a model"},
	{BadDuration, "a duration that cannot be read"},
	{HeaderRefused, "a header that a target may not set"},
	{NoTargets, "no target is configured"},
	{WeightZero, "weights that add up to nothing"},
	{GroupCycle, "fallback groups that lead back to themselves"},
	{DuplicateGroup, "two model groups share a name"},
	{UnknownTrigger, "a fallback trigger that does not exist"},
	{EgressRefused, "a target address that may not be called"},
	{ModelTwice, "the model is named twice, with different values"},
	{SecretInline, "a secret is written in the file"},
	{SecretRefForm, "secret_key_ref does not have exactly one of env and store"},
	{SecretMissing, "a secret is not there; its target is unavailable"},
	{SecretStore, "the secret store cannot be read"},
	{SecretFileMode, "a secret file can be read by others"},
	{SecretUnclean, "a secret holds characters that cannot be sent in a header"},
	{EnvInvalid, "an environment variable has a value that cannot be used"},
	{EnvUnknown, "an environment variable KEEPTRUSTS_... that nothing reads"},
	{GenFailed, "the generator could not write the pack"},
	{GenStale, "generated files are not up to date"},
	{GenUnclassified, "a wire schema has a string without x-kt-text"},
	{GenName, "a name that cannot become a Go package"},
	{GenBudget, "the pack's tables are larger than the budget"},
	{RunListen, "the listen address cannot be used"},
	{RunNoTarget, "no target is usable"},
	{RunNotCompiled, "no compiled pack has this plan's digest"},
	{RunOpenListen, "listening on more than loopback without client authentication"},
	{RunOverride, "an emergency override is in force"},
	{RunNoReporting, "reporting is configured and not built yet"},
	{RunDataDir, "the data directory cannot be used"},
	{RunFailOpen, "traffic passes when a policy fails"},
	{TestFileForm, "a test file does not have the documented form"},
	{TestNameTwice, "two test cases or suites share a name"},
	{TestVerdict, "an expected verdict that does not exist"},
	{TestNoCases, "no test case was found"},
	{TestNoEffect, "a test setting without effect"},
	{TestAssertion, "an assertion type that does not exist or is not built yet"},
}

// Info is a code with its meaning.
type Info struct {
	Code    Code
	Meaning string
}

// Codes lists all codes in the order of their numbers.
func Codes() []Info {
	out := make([]Info, len(meanings))
	for i, m := range meanings {
		out[i] = Info{m.code, m.text}
	}
	return out
}

// Meaning is the one-line meaning of c, "" for an unknown code.
func (c Code) Meaning() string {
	for _, m := range meanings {
		if m.code == c {
			return m.text
		}
	}
	return ""
}

// Docs is the place in the documentation that explains c.
func (c Code) Docs() string { return "docs/diagnostics.md#" + strings.ToLower(string(c)) }

// Page is docs/diagnostics.md: one heading per code, which is the anchor that
// every diagnostic names.
func Page() []byte {
	var b strings.Builder
	b.WriteString("# Diagnostics\n\nEvery fault that kt names has a number. Numbers are never reused.\n" +
		"This page is written from `internal/diag/codes.go`: `go test ./internal/diag -update`.\n")
	families := map[byte]string{
		'1': "YAML and schema", '2': "Policies", '3': "Providers and routing", '4': "Secrets and environment",
		'5': "Generator", '6': "Run time", '7': "Policy tests",
	}
	var family byte
	for _, m := range meanings {
		if f := m.code[2]; f != family {
			family = f
			b.WriteString("\n# KT" + string(f) + "xxx: " + families[f] + "\n")
		}
		b.WriteString("\n## " + string(m.code) + "\n\n" + strings.ToUpper(m.text[:1]) + m.text[1:] + ".\n")
	}
	return []byte(b.String())
}
