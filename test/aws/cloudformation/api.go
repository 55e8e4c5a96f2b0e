package cloudformation

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

const maxRequest = 128 << 20 // an asset is a package of some MB

// apiError is what a client is told.
type apiError struct{ code, message string }

func (e *apiError) Error() string { return e.code + ": " + e.message }

// credentialScope is in every signed request: access key, date, region and service.
var credentialScope = regexp.MustCompile(`Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request`)

// ServeHTTP tells the services apart by what the request was signed for.
func (d *Double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	scope := credentialScope.FindStringSubmatch(r.Header.Get("Authorization"))
	if scope == nil {
		http.Error(w, "the request is not signed", http.StatusForbidden)
		return
	}
	service := scope[2]
	if scope[1] != d.options.Region && service != "sts" && service != "s3" { // the CLI asks S3 as if in us-east-1 where a bucket is
		d.elsewhere(w, service, scope[1])
		return
	}
	switch service {
	case "s3":
		d.assets.ServeHTTP(w, r)
	case "ssm":
		d.serveSSM(w, r)
	case "sts", "cloudformation":
		d.serveQuery(w, r, service)
	default:
		d.fail(w, &apiError{"UnknownService", "the stand-in does not play " + service})
	}
}

// elsewhere answers for other regions, in which nobody ran `cdk bootstrap` and there are no stacks.
func (d *Double) elsewhere(w http.ResponseWriter, service, region string) {
	switch service {
	case "ssm":
		parameterNotFound(w, "in "+region)
	case "cloudformation":
		d.fail(w, &apiError{"ValidationError", "Stack does not exist in " + region})
	default:
		d.fail(w, &apiError{"UnknownService", "the stand-in does not play " + service})
	}
}

// action answers one action of the Query protocol with the content of its result.
type action func(d *Double, parameters url.Values) (any, error)

func (d *Double) serveQuery(w http.ResponseWriter, r *http.Request, service string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		d.fail(w, &apiError{"RequestTooLarge", err.Error()})
		return
	}
	parameters, err := url.ParseQuery(string(body))
	if err != nil {
		d.fail(w, &apiError{"MalformedInput", err.Error()})
		return
	}
	name := parameters.Get("Action")
	answer, known := actions[service][name]
	if !known {
		d.fail(w, &apiError{"InvalidAction", fmt.Sprintf("the stand-in does not play %s of %s", name, service)})
		return
	}
	result, err := answer(d, parameters)
	if err != nil {
		d.fail(w, err)
		return
	}
	space := map[string]string{
		"sts": "https://sts.amazonaws.com/doc/2011-06-15/", "cloudformation": "http://cloudformation.amazonaws.com/doc/2010-05-15/",
	}[service]
	respond(w, name, space, result)
}

// respond writes <NameResponse><NameResult>...</NameResult><ResponseMetadata/></NameResponse>.
func respond(w http.ResponseWriter, name, space string, result any) {
	w.Header().Set("Content-Type", "text/xml")
	encoder := xml.NewEncoder(w)
	outer := xml.StartElement{Name: xml.Name{Local: name + "Response"}, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: space}}}
	err := errors.Join(
		encoder.EncodeToken(outer),
		encoder.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: name + "Result"}}),
		encoder.EncodeElement(struct {
			RequestID string `xml:"RequestId"`
		}{uuid()}, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}),
		encoder.EncodeToken(outer.End()),
		encoder.Flush(),
	)
	if err != nil {
		panic(fmt.Errorf("an answer of the stand-in that is no XML: %w", err)) // its own types
	}
}

func (d *Double) fail(w http.ResponseWriter, err error) {
	var known *apiError
	if !errors.As(err, &known) {
		known = &apiError{"ValidationError", err.Error()}
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusBadRequest)
	_ = xml.NewEncoder(w).Encode(struct { // whoever hangs up gets nothing
		XMLName xml.Name `xml:"ErrorResponse"`
		Type    string   `xml:"Error>Type"`
		Code    string   `xml:"Error>Code"`
		Message string   `xml:"Error>Message"`
	}{Type: "Sender", Code: known.code, Message: known.message})
}

// members reads a list of the Query protocol: Tags.member.1.Key, Tags.member.1.Value, ...
func members(parameters url.Values, list string, fields ...string) []map[string]string {
	var found []map[string]string
	for i := 1; ; i++ {
		member := map[string]string{}
		for _, field := range fields {
			name := fmt.Sprintf("%s.member.%d", list, i)
			if field != "" {
				name += "." + field
			}
			if parameters.Has(name) {
				member[field] = parameters.Get(name)
			}
		}
		if len(member) == 0 {
			return found
		}
		found = append(found, member)
	}
}

// bucketAndKey splits a path-style URL's path.
func bucketAndKey(path string) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return bucket, key
}
