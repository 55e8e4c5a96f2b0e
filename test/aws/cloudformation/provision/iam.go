package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
)

// role is what versitygw was told, for the rights that it does not decide.
type role struct {
	arn       string
	federated bool              // assumed by workloads
	policies  map[string]string // documents by name
}

// ServiceControl is a policy of the organization above the account, which denies what roles made from now on are allowed. Empty, there is none.
func (a *Account) ServiceControl(document string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ceiling = document
}

type roles struct{ *Account }

func (k roles) Create(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	trust, err := k.trust(r.Properties["AssumeRolePolicyDocument"])
	if err != nil {
		return cloudformation.Made{}, err
	}
	name := r.Name("RoleName")
	created, err := k.options.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		return cloudformation.Made{}, err
	}
	arn := *created.Role.Arn
	k.mu.Lock()
	k.roles[name] = &role{arn, !strings.Contains(trust, k.principals.host), map[string]string{}}
	k.mu.Unlock()
	made := cloudformation.Made{ID: name, Attributes: map[string]any{"Arn": arn, "RoleId": *created.Role.RoleId}}
	return made, k.setPolicies(ctx, name, r.Properties, nil)
}

func (k roles) Update(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	trust, err := k.trust(r.Properties["AssumeRolePolicyDocument"])
	if err != nil {
		return cloudformation.Made{}, err
	}
	if _, err := k.options.IAM.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &r.ID, PolicyDocument: &trust}); err != nil {
		return cloudformation.Made{}, err
	}
	return cloudformation.Made{ID: r.ID}, k.setPolicies(ctx, r.ID, r.Properties, r.Old)
}

func (k roles) Delete(ctx context.Context, r cloudformation.Request) error {
	k.mu.Lock()
	known := k.roles[r.ID]
	var names []string
	if known != nil {
		names = slices.Sorted(maps.Keys(known.policies))
	}
	k.mu.Unlock()
	for _, name := range names {
		if err := k.dropPolicy(ctx, r.ID, name); err != nil {
			return err
		}
	}
	_, err := k.options.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &r.ID})
	k.mu.Lock()
	delete(k.roles, r.ID)
	k.mu.Unlock()
	return unlessGone(err)
}

func unlessGone(err error) error {
	var gone *types.NoSuchEntityException
	if errors.As(err, &gone) {
		return nil
	}
	return err
}

// setPolicies gives a role the policies of its properties, and takes away those that only the old ones have. Managed policies become policies
// of the role's own: versitygw has no others.
func (k roles) setPolicies(ctx context.Context, name string, now, old map[string]any) error {
	wanted, err := k.inline(now)
	if err != nil {
		return err
	}
	before, err := k.inline(old)
	if err != nil {
		return err
	}
	for _, policy := range slices.Sorted(maps.Keys(wanted)) {
		if err := k.putPolicy(ctx, name, policy, wanted[policy]); err != nil {
			return err
		}
	}
	for _, policy := range slices.Sorted(maps.Keys(before)) {
		if _, stays := wanted[policy]; stays {
			continue
		}
		if err := k.dropPolicy(ctx, name, policy); err != nil {
			return err
		}
	}
	return nil
}

func (k roles) inline(properties map[string]any) (map[string]string, error) {
	found := map[string]string{}
	for _, each := range listOf(properties["Policies"]) {
		policy, _ := each.(map[string]any)
		document, err := json.Marshal(policy["PolicyDocument"])
		if err != nil {
			return nil, err
		}
		found[fmt.Sprint(policy["PolicyName"])] = string(document)
	}
	for _, each := range listOf(properties["ManagedPolicyArns"]) {
		arn := fmt.Sprint(each)
		document, ok := k.options.Managed[arn]
		if !ok {
			return nil, fmt.Errorf("policy %s does not exist or is not attachable", arn)
		}
		found["managed-"+arn[strings.LastIndex(arn, "/")+1:]] = document
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ceiling != "" {
		found["service-control"] = k.ceiling
	}
	return found, nil
}

func (a *Account) putPolicy(ctx context.Context, roleName, name, document string) error {
	_, err := a.options.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &roleName, PolicyName: &name, PolicyDocument: &document})
	if err != nil {
		return fmt.Errorf("policy %s of role %s: %w", name, roleName, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.roles[roleName]; known != nil {
		known.policies[name] = document
	}
	return nil
}

func (a *Account) dropPolicy(ctx context.Context, roleName, name string) error {
	_, err := a.options.IAM.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &roleName, PolicyName: &name})
	if err := unlessGone(err); err != nil {
		return fmt.Errorf("policy %s of role %s: %w", name, roleName, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.roles[roleName]; known != nil {
		delete(known.policies, name)
	}
	return nil
}

// policies are those that CDK attaches to roles from outside.
type policies struct{ *Account }

func (k policies) Create(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	document, err := json.Marshal(r.Properties["PolicyDocument"])
	if err != nil {
		return cloudformation.Made{}, err
	}
	name := r.Text("PolicyName")
	for _, roleName := range listOf(r.Properties["Roles"]) {
		if err := k.putPolicy(ctx, fmt.Sprint(roleName), name, string(document)); err != nil {
			return cloudformation.Made{ID: name}, err
		}
	}
	return cloudformation.Made{ID: name}, nil
}

func (k policies) Update(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return k.Create(ctx, r)
}

func (k policies) Delete(ctx context.Context, r cloudformation.Request) error {
	for _, roleName := range listOf(r.Properties["Roles"]) {
		if err := k.dropPolicy(ctx, fmt.Sprint(roleName), r.ID); err != nil {
			return err
		}
	}
	return nil
}

type providers struct{ *Account }

func (k providers) Create(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	arn, err := k.createProvider(ctx, r.Text("Url"), textsOf(r.Properties["ClientIdList"]), textsOf(r.Properties["ThumbprintList"]))
	if err != nil {
		return cloudformation.Made{}, err
	}
	return cloudformation.Made{ID: arn, Attributes: map[string]any{"Arn": arn}}, nil
}

func (a *Account) createProvider(ctx context.Context, url string, clients, thumbprints []string) (string, error) {
	created, err := a.options.IAM.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: &url, ClientIDList: clients, ThumbprintList: thumbprints,
	})
	if err != nil {
		return "", err
	}
	return *created.OpenIDConnectProviderArn, nil
}

func (a *Account) providerARN(host string) string {
	return "arn:aws:iam::" + a.options.ID + ":oidc-provider/" + host
}

func (k providers) Update(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	now, old := textsOf(r.Properties["ClientIdList"]), textsOf(r.Old["ClientIdList"])
	for _, id := range now {
		if slices.Contains(old, id) {
			continue
		}
		if _, err := k.options.IAM.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
			OpenIDConnectProviderArn: &r.ID, ClientID: &id,
		}); err != nil {
			return cloudformation.Made{}, err
		}
	}
	for _, id := range old {
		if slices.Contains(now, id) {
			continue
		}
		if _, err := k.options.IAM.RemoveClientIDFromOpenIDConnectProvider(ctx, &iam.RemoveClientIDFromOpenIDConnectProviderInput{
			OpenIDConnectProviderArn: &r.ID, ClientID: &id,
		}); err != nil {
			return cloudformation.Made{}, err
		}
	}
	return cloudformation.Made{ID: r.ID}, nil
}

func (k providers) Delete(ctx context.Context, r cloudformation.Request) error {
	_, err := k.options.IAM.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &r.ID})
	return unlessGone(err)
}

func textsOf(value any) []string {
	var all []string
	for _, each := range listOf(value) {
		all = append(all, fmt.Sprint(each))
	}
	return all
}
