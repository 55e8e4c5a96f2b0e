package doctor

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const (
	googlePool   = "projects/123456789012/locations/global/workloadIdentityPools/kubernetes"
	someIdentity = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/prod/providers/Microsoft.ManagedIdentity/userAssignedIdentities/payments"
)

// Which clouds are asked, and for which audiences tokens are tried if nobody says otherwise.
func TestCloudFlags(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct {
		readers   int
		audiences string
		err       string
	}{
		"":      {0, "", ""},
		"--aws": {1, "sts.amazonaws.com", ""},
		"--aws --aws-role payments --aws-audience a":                             {1, "a", ""},
		"--gcp-pool " + googlePool:                                               {1, "", ""},
		"--gcp-pool " + googlePool + " --gcp-audience a":                         {1, "a", ""},
		"--gcp-provider " + googlePool + "/providers/prod":                       {1, "https://iam.googleapis.com/" + googlePool + "/providers/prod", ""},
		"--azure-identity " + someIdentity:                                       {1, "api://AzureADTokenExchange", ""},
		"--azure-cloud china --azure-identity " + someIdentity:                   {1, "api://AzureADTokenExchangeChina", ""},
		"--azure-application 00000000-0000-0000-0000-000000000002 --vault --aws": {3, "sts.amazonaws.com api://AzureADTokenExchange vault", ""},
		"--vault --vault-mount jwt --vault-audience https://vault.example.com":   {1, "https://vault.example.com", ""},
		"--aws-account 111122223333":                                             {0, "", "say --aws, too"},
		"--vault-mount jwt":                                                      {0, "", "say --vault, too"},
		"--gcp-impersonate a@b.iam.gserviceaccount.com":                          {0, "", "say --gcp-pool or --gcp-provider, too"},
		"--gcp-provider kubernetes":                                              {0, "", "want projects/NUMBER"},
		"--azure-identity payments":                                              {0, "", "want a name with --resource-group"},
		"--azure-resource-group prod":                                            {0, "", "want --identity or --application"},
	} {
		var f cloudFlags
		c := &cobra.Command{}
		f.add(c)
		if err := c.ParseFlags(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		readers, audiences, err := f.readers()
		if len(readers) != want.readers || !slices.Equal(audiences, strings.Fields(want.audiences)) || (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%s: %d readers, audiences %q, error %v; want %+v", line, len(readers), audiences, err, want)
		}
	}
}
