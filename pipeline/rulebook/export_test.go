package rulebook

// RawSecrets is the data file of the secret formats, for the tests.
func RawSecrets() string {
	b, err := files.ReadFile("data/secrets.rules")
	if err != nil {
		panic(err)
	}
	return string(b)
}
