package snapshot

import "strings"

// Subject is the "sub" claim of a service account given as "namespace/name".
func Subject(serviceAccount string) string {
	return "system:serviceaccount:" + strings.Replace(serviceAccount, "/", ":", 1)
}
