package publishers

import (
	"errors"
	"strings"
	"testing"
)

const (
	fromCDK = `{"prod": {"Publisher": "{\"name\":\"prod/111122223333\",\"lambda\":{\"function\":\"arn:aws:lambda:eu-central-1:111122223333:function:prod-P\"}}", "LogGroupName": "x"}}`

	exporters  = `"exporters": {"sensitive": false, "value": {"prod-eu1": "{\"cluster\":\"prod-eu1\",\"destinations\":[{\"publisher\":\"NAME\",\"webhook\":{\"url\":\"https://a\"}}]}"}}`
	fromGoogle = `{` + exporters + `, "operate_url": {"sensitive": false, "type": "string", "value": "https://operate-abc-ew.a.run.app"}}`
	fromAzure  = `{` + exporters + `, "operate_url": {"sensitive": false, "type": "string", "value": "https://acme.azurewebsites.net/v1/operate"}}`
	shut       = `{` + exporters + `, "operate_url": {"sensitive": false, "type": "string", "value": null}}`
)

func TestFind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		outputs string
		missing Missing
		where   string
		want    error
	}{
		"AWS":                {fromCDK, Missing{}, "arn:aws:lambda:eu-central-1:111122223333:function:prod-P", nil},
		"Google Cloud":       {fromGoogle, Missing{}, "https://operate-abc-ew.a.run.app", nil},
		"Azure":              {fromAzure, Missing{Audience: "api://operators"}, "https://acme.azurewebsites.net/v1/operate", nil},
		"Azure, whole":       {strings.Replace(fromAzure, `{`, `{"operator_audience": {"sensitive": false, "value": "api://operators"}, `, 1), Missing{}, "https://acme.azurewebsites.net/v1/operate", nil},
		"without audience":   {fromAzure, Missing{}, "", ErrOutputs},
		"a door that's shut": {shut, Missing{}, "", ErrNone},
		"an older stack":     {`{"prod": {"FunctionName": "prod-P"}}`, Missing{}, "", ErrNone},
		"a newer stack":      {strings.Replace(fromCDK, `\"lambda\"`, `\"pigeon\":1,\"lambda\"`, 1), Missing{}, "", ErrOutputs},
		"a program to run":   {`{"prod": {"Note": "{\"name\":\"p\",\"cloudRun\":{\"url\":\"https://a.run.app\",\"tokenCommand\":[\"sh\",\"-c\",\"curl evil\"]}}"}}`, Missing{}, "", ErrOutputs},
		"no name":            {`{"operate_url": "https://operate-abc-ew.a.run.app"}`, Missing{}, "", ErrOutputs},
		"a door by http":     {strings.Replace(fromGoogle, "https://operate", "http://operate", 1), Missing{}, "", ErrOutputs},
		"no JSON":            {"Outputs:", Missing{}, "", ErrOutputs},
	} {
		found, err := Find([]byte(test.outputs), test.missing)
		if !errors.Is(err, test.want) || test.want == nil && (len(found) != 1 || found[0].Where() != test.where) {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	aws, google := Publisher{Name: "a", Lambda: &Lambda{Function: "f"}}, Publisher{Name: "g", CloudRun: &CloudRun{URL: "u"}}
	if merged, err := merge([]Publisher{aws, google, aws}); err != nil || len(merged) != 2 {
		t.Errorf("%v, %v", merged, err)
	}
	for _, other := range []Publisher{{Name: "a", Lambda: &Lambda{Function: "h"}}, {Name: "b", Lambda: &Lambda{Function: "f"}}} {
		if _, err := merge([]Publisher{aws, other}); !errors.Is(err, ErrOutputs) {
			t.Errorf("%+v: %v", other, err)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, outputs := range []string{fromCDK, fromGoogle, fromAzure, shut} {
		f.Add([]byte(outputs))
	}
	f.Fuzz(func(t *testing.T, outputs []byte) {
		found, err := Find(outputs, Missing{Audience: "api://operators"})
		if err != nil {
			if !errors.Is(err, ErrNone) && !errors.Is(err, ErrOutputs) {
				t.Errorf("got %v", err)
			}
			return
		}
		for _, p := range found {
			if _, err := p.check(); err != nil {
				t.Errorf("%+v: %v", p, err)
			}
		}
	})
}
