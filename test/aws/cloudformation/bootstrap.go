package cloudformation

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// bootstrapVersion is what `cdk bootstrap` leaves in the parameter store: at least what any version of the CLI asks for.
const bootstrapVersion = "30"

// assets is the bucket that `cdk bootstrap` makes: path-style S3, as far as the CLI uses it.
type assets struct {
	mu    sync.Mutex
	files map[string][]byte // by bucket and key
}

func newAssets() *assets { return &assets{files: map[string][]byte{}} }

func (a *assets) get(bucket, key string) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	file, ok := a.files[bucket+"/"+key]
	return file, ok
}

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key := bucketAndKey(r.URL.Path)
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPut && key != "":
		a.take(w, r, bucket, key)
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && key != "":
		file, ok := a.get(bucket, key)
		if !ok {
			http.Error(w, "no such key", http.StatusNotFound)
			return
		}
		_, _ = w.Write(file) // whoever hangs up gets less
	case r.Method == http.MethodGet && query.Has("location"):
		writeXML(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`)
	case r.Method == http.MethodGet && query.Has("encryption"):
		writeXML(w, `<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ApplyServerSideEncryptionByDefault>`+
			`<SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`)
	case r.Method == http.MethodGet:
		a.list(w, bucket, query.Get("prefix"))
	default:
		http.Error(w, "the stand-in's bucket of assets does not play this", http.StatusNotImplemented)
	}
}

func (a *assets) take(w http.ResponseWriter, r *http.Request, bucket, key string) {
	if strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
		http.Error(w, "the stand-in's bucket of assets does not read aws-chunked bodies", http.StatusNotImplemented)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[bucket+"/"+key] = body
	w.Header().Set("ETag", `"asset"`)
}

func (a *assets) list(w http.ResponseWriter, bucket, prefix string) {
	type content struct {
		Key  string
		Size int
	}
	var answer struct {
		XMLName     xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		Name        string
		KeyCount    int
		IsTruncated bool
		Contents    []content
	}
	a.mu.Lock()
	for name, file := range a.files {
		if key, ok := strings.CutPrefix(name, bucket+"/"); ok && strings.HasPrefix(key, prefix) {
			answer.Contents = append(answer.Contents, content{key, len(file)})
		}
	}
	a.mu.Unlock()
	answer.Name, answer.KeyCount = bucket, len(answer.Contents)
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(answer) // whoever hangs up gets less
}

func writeXML(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, xml.Header+text) // whoever hangs up gets less
}

// serveSSM knows one parameter: the version of the bootstrap stack.
func (d *Double) serveSSM(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Name string }
	err := json.NewDecoder(r.Body).Decode(&asked)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if target := r.Header.Get("X-Amz-Target"); err != nil || target != "AmazonSSM.GetParameter" || !bootstrapParameter(asked.Name) {
		parameterNotFound(w, target+" "+asked.Name)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"Parameter": map[string]any{ // whoever hangs up gets nothing
		"Name": asked.Name, "Type": "String", "Value": bootstrapVersion, "Version": 1,
	}})
}

func parameterNotFound(w http.ResponseWriter, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": "ParameterNotFound", "message": message}) // whoever hangs up gets nothing
}

func bootstrapParameter(name string) bool {
	return strings.HasPrefix(name, "/cdk-bootstrap/") && strings.HasSuffix(name, "/version")
}

type callerIdentity struct {
	UserID  string `xml:"UserId"`
	Account string
	Arn     string
}

func (d *Double) getCallerIdentity(url.Values) (any, error) {
	return callerIdentity{"AIDAEXAMPLE", d.options.Account, fmt.Sprintf("arn:aws:iam::%s:user/deployer", d.options.Account)}, nil
}

type assumedRole struct {
	AccessKeyID     string `xml:"Credentials>AccessKeyId"`
	SecretAccessKey string `xml:"Credentials>SecretAccessKey"`
	SessionToken    string `xml:"Credentials>SessionToken"`
	Expiration      string `xml:"Credentials>Expiration"`
	Arn             string `xml:"AssumedRoleUser>Arn"`
	ID              string `xml:"AssumedRoleUser>AssumedRoleId"`
}

// assumeRole gives the roles that `cdk bootstrap` makes.
func (d *Double) assumeRole(parameters url.Values) (any, error) {
	role, session := parameters.Get("RoleArn"), parameters.Get("RoleSessionName")
	if !strings.HasPrefix(role, "arn:aws:iam::"+d.options.Account+":role/cdk-") || !strings.HasSuffix(role, "-"+d.options.Account+"-"+d.options.Region) {
		return nil, &apiError{"AccessDenied", "User is not authorized to perform: sts:AssumeRole on resource: " + role}
	}
	c := Credentials{"ASIAEXAMPLE" + strings.ToUpper(unique()), "test", "test", time.Now().Add(time.Hour)}
	if d.options.Assume != nil {
		var err error
		if c, err = d.options.Assume(d.ctx, role, session); err != nil {
			return nil, &apiError{"AccessDenied", err.Error()}
		}
	}
	return assumedRole{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Expiration: stamp(c.Expiration),
		Arn: strings.Replace(role, ":role/", ":assumed-role/", 1) + "/" + session, ID: "AROAEXAMPLE:" + session,
	}, nil
}
