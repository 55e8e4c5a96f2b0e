package doctor

import (
	"fmt"
	"strings"
)

// Status is what came of a check.
type Status string

// A check that is Skipped says why: what it needs is broken, or was not given. One that is Unknown was asked for and not answered: it says which right
// is missing.
const (
	OK      Status = "ok"
	Warn    Status = "warn"
	Unknown Status = "unknown"
	Broken  Status = "broken"
	Skipped Status = "skipped"
)

// check is one question about one link of the chain.
type check struct {
	id       string
	question string
	how      string   // what is looked at, and why it matters
	remedy   string   // what to do if it is not well, unless the finding knows better
	needs    []string // checks without whose subject this one has none
	look     func(*evidence) finding
}

// finding is what a look saw.
type finding struct {
	status Status
	detail string
	remedy string
}

func ok(format string, args ...any) finding { return finding{OK, fmt.Sprintf(format, args...), ""} }

func warn(format string, args ...any) finding { return finding{Warn, fmt.Sprintf(format, args...), ""} }

func broken(format string, args ...any) finding {
	return finding{Broken, fmt.Sprintf(format, args...), ""}
}

func unknown(format string, args ...any) finding {
	return finding{Unknown, fmt.Sprintf(format, args...), ""}
}

func skip(format string, args ...any) finding {
	return finding{Skipped, fmt.Sprintf(format, args...), ""}
}

// doing is the finding with a remedy of its own.
func (f finding) doing(format string, args ...any) finding {
	f.remedy = fmt.Sprintf(format, args...)
	return f
}

// unless is a broken finding of all complaints, or an ok one if there are none.
func unless(complaints []string, format string, args ...any) finding {
	if len(complaints) > 0 {
		return broken("%s", strings.Join(complaints, "; "))
	}
	return ok(format, args...)
}

// softly makes a broken finding a warning.
func softly(f finding) finding {
	if f.status == Broken {
		f.status = Warn
	}
	return f
}

// Result is what a check came to.
type Result struct {
	ID       string `json:"id"`
	Link     string `json:"link"`
	Question string `json:"question"`
	Status   Status `json:"status"`
	Detail   string `json:"detail"`
	Remedy   string `json:"remedy,omitempty"` // of warn and broken
}

// link is a stretch of the chain, from the API servers' flags to the clouds.
type link struct {
	name   string
	checks []check
}

// chain is every check in the order in which trust passes through.
func chain() []link {
	return []link{
		{"API servers", serverChecks()},
		{"issuer", issuerChecks()},
		{"keys", keyChecks()},
		{"tokens", tokenChecks()},
		{"exporter", exporterChecks()},
		{"publisher", publisherChecks()},
		{"web", webChecks()},
		{"discovery document", discoveryChecks()},
		{"published keys", jwksChecks()},
		{"mirrors", mirrorChecks()},
		{"publishers", betweenPublishers()},
		{"exchange", exchangeChecks()},
		{"AWS", awsChecks()},
		{"Google Cloud", gcpChecks()},
		{"Microsoft Entra", azureChecks()},
		{"Vault", vaultChecks()},
	}
}

// examine makes every check whose needs are met.
func examine(e *evidence) []Result {
	var results []Result
	done := map[string]Status{}
	for _, l := range chain() {
		for _, c := range l.checks {
			f, blocked := blocked(c, done)
			if !blocked {
				f = c.look(e)
			}
			done[c.id] = f.status
			results = append(results, result(l.name, c, f))
		}
	}
	return results
}

func blocked(c check, done map[string]Status) (finding, bool) {
	for _, need := range c.needs {
		switch done[need] {
		case Broken:
			return skip("it depends on %s, which is broken", need), true
		case Skipped:
			return skip("it depends on %s, which was skipped", need), true
		case OK, Warn, Unknown: // what depends on the unknown was seen, or says that it was not
		default:
			panic("doctor: check " + c.id + " needs " + need + ", which does not come before it")
		}
	}
	return finding{}, false
}

func result(link string, c check, f finding) Result {
	r := Result{ID: c.id, Link: link, Question: c.question, Status: f.status, Detail: f.detail}
	if f.status == Warn || f.status == Unknown || f.status == Broken {
		if r.Remedy = f.remedy; r.Remedy == "" {
			r.Remedy = c.remedy
		}
	}
	return r
}
