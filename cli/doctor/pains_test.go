package doctor_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	row     = regexp.MustCompile(`(?m)^\| ([0-9]+) \| ([^|]+) \| ([^|]+) \| ([^|]*) \|$`)
	checkID = regexp.MustCompile("`([a-z]+\\.[a-z-]+)`")
)

// The table of what goes wrong names checks that there are, each row either a check or plainly that there is none; and every check is told of in the page.
func TestThePageOfPains(t *testing.T) {
	t.Parallel()
	page := string(must(os.ReadFile("../../docs/doctor.md")))
	var known []string
	for _, c := range run(newWorld(t)).Checks {
		known = append(known, c.ID)
	}
	rows := row.FindAllStringSubmatch(page, -1)
	if len(rows) != 25 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, r := range rows {
		ids, blind := checkID.FindAllStringSubmatch(r[3], -1), strings.TrimSpace(r[4])
		if r[1] != strconv.Itoa(i+1) || len(ids) == 0 && r[3] != "none" || len(ids) == 0 && blind == "" {
			t.Errorf("row %s: want checks, or none and why", r[1])
		}
	}
	told := map[string]bool{}
	for _, id := range checkID.FindAllStringSubmatch(page, -1) {
		told[id[1]] = true
		if !slices.Contains(known, id[1]) {
			t.Errorf("there is no check %s", id[1])
		}
	}
	for _, id := range answerable() {
		if !told[id] {
			t.Errorf("the page says nothing of %s", id)
		}
	}
}
