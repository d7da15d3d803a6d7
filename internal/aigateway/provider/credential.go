package provider

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// Names of the settings that hold credentials of several parts.
const (
	bedrockBearerName = "AWS_BEARER_TOKEN_BEDROCK"
	awsIDName         = "AWS_ACCESS_KEY_ID"
	awsSecretName     = "AWS_SECRET_ACCESS_KEY"
	awsSessionName    = "AWS_SESSION_TOKEN"
	googleAccountName = "GOOGLE_APPLICATION_CREDENTIALS_JSON"
)

// maxKeys is how many keys of one provider are looked for: NAME, NAME_2 ... NAME_32.
const maxKeys = 32

// style is how a provider takes a key.
type style uint8

const (
	bearer         style = iota // Authorization: Bearer KEY
	xAPIKey                     // X-Api-Key: KEY (Anthropic)
	apiKey                      // Api-Key: KEY (Azure)
	google                      // X-Goog-Api-Key: KEY
	aws                         // Signature Version 4, or a bearer token of Bedrock
	serviceAccount              // a Google service account's access token
)

// Credential is what one call is authenticated with. Printing it gives its name; its
// values are only in [Signer.Secrets] and in what [Signer.Sign] sets.
type Credential struct {
	Name string // of the setting, for the log; "" where no credential is needed
	s    func() *secrets
}

// secrets are a credential's values. They are behind a function so that printing
// something that holds a Credential does not show them: fmt follows a pointer where
// the verb does not fit it.
type secrets struct {
	style   style
	key     string // or a service account's JSON
	id      string // AWS: of the access key, whose secret is key
	session string // AWS: of temporary credentials
	gateway string // for Cloudflare's gateway, beside or instead of the key
	chained bool
}

func newCredential(name string, s *secrets) Credential {
	return Credential{Name: name, s: func() *secrets { return s }}
}

// String is the credential's name.
func (c Credential) String() string { return c.Name }

// Format writes the credential's name whatever the verb is.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.Name) }

// LogValue is the credential's name.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.Name) }

// MissingError says that a call needs a setting that is not there.
type MissingError struct {
	Names []string // any one of them would do; the first is preferred
}

func (e *MissingError) Error() string {
	return "no " + strings.Join(e.Names, " or ") + " is set on this host; set it with: moltworker secret put " + e.Names[0]
}

// numbered are the names of a provider's keys: for each name itself, then NAME_2 to
// NAME_32.
func numbered(names []string) []string {
	all := slices.Clone(names)
	for i := 2; i <= maxKeys; i++ {
		for _, name := range names {
			all = append(all, numberedName(name, i))
		}
	}
	return all
}

func numberedName(name string, i int) string { return name + "_" + strconv.Itoa(i) }

// Worked out once, since they are looked up on every call.
var (
	gatewayKeyNames = numbered([]string{gatewayKeyName})
	bedrockNames    = numbered([]string{bedrockBearerName})
	awsIDNames      = numbered([]string{awsIDName})
	awsSecretNames  = numbered([]string{awsSecretName})
	awsSessionNames = numbered([]string{awsSessionName})
	accountsNames   = numbered([]string{googleAccountName})
)

// Credentials are those that calls to this place may use, at most 32, in the order
// of their numbers; any of them will do. Settings that cannot be keys are left out;
// where nothing else is left, the error says so without their values. What is
// missing is a [MissingError].
func (pl Place) Credentials(get Settings) ([]Credential, error) {
	token, err := pl.gatewayToken(get)
	if err != nil {
		return nil, err
	}
	found, errs := pl.own(get)
	if len(found) == 0 {
		if found, err = pl.without(get, token, errs); err != nil {
			return nil, err
		}
	}
	found = found[:min(len(found), maxKeys)]
	for _, c := range found {
		if c.s != nil {
			c.s().gateway, c.s().chained = token, pl.Chained
		}
	}
	return found, nil
}

// without are the credentials where the provider's own could not be had, for the
// given reasons.
func (pl Place) without(get Settings, token string, errs []error) ([]Credential, error) {
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	switch {
	case token != "" && pl.provider.Name == "workers-ai": // both want a token of the same account
		return []Credential{newCredential(chainKeyName, &secrets{style: bearer, key: token})}, nil
	case token != "": // the gateway has the key, or pays
		return []Credential{newCredential(chainKeyName, &secrets{})}, nil
	case pl.provider.keyless:
		return []Credential{{}}, nil
	}
	return nil, pl.missing(get)
}

func (pl Place) missing(get Settings) error {
	switch {
	case pl.gateway:
		return &MissingError{Names: []string{gatewayKeyName}}
	case pl.provider.style == aws && get.value(awsIDName) != "":
		return &MissingError{Names: []string{awsSecretName}}
	}
	return &MissingError{Names: pl.provider.KeyNames}
}

// own are the provider's own credentials.
func (pl Place) own(get Settings) ([]Credential, []error) {
	p := pl.provider
	if pl.gateway {
		return keys(get, gatewayKeyNames, p.style)
	}
	var found []Credential
	var errs []error
	switch p.style {
	case aws:
		found, errs = awsKeys(get)
	case serviceAccount:
		found = accounts(get)
	default:
		names := p.numbers
		if names == nil {
			names = numbered(p.KeyNames)
		}
		found, errs = keys(get, names, p.style)
	}
	if len(found) > 0 || len(errs) > 0 {
		return found, errs
	}
	switch {
	case pl.elsewhere && p.Name == "anthropic": // a gateway given as ANTHROPIC_BASE_URL
		return keys(get, []string{gatewayKeyName}, p.style)
	case pl.Chained && pl.lent(get):
		return keys(get, []string{chainKeyName}, p.style)
	}
	return nil, nil
}

// keys are the keys in the named settings, each value once.
func keys(get Settings, names []string, st style) ([]Credential, []error) {
	var found []Credential
	var errs []error
	for _, name := range names {
		key := get.value(name)
		if key == "" || slices.ContainsFunc(found, func(c Credential) bool { return c.s().key == key }) {
			continue
		}
		if err := checkKey(name, key); err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, newCredential(name, &secrets{style: st, key: key}))
	}
	return found, errs
}

// awsKeys are Bedrock's bearer tokens, then access keys with their secrets.
func awsKeys(get Settings) ([]Credential, []error) {
	found, errs := keys(get, bedrockNames, bearer)
	for i, name := range awsIDNames {
		s := &secrets{style: aws, id: get.value(name), key: get.value(awsSecretNames[i]), session: get.value(awsSessionNames[i])}
		if s.id == "" || s.key == "" {
			continue
		}
		err := errors.Join(checkKey(name, s.id), checkKey(awsSecretNames[i], s.key))
		if s.session != "" {
			err = errors.Join(err, checkKey(awsSessionNames[i], s.session))
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, newCredential(name, s))
	}
	return found, errs
}

// accounts are service accounts; what is in them is looked at when one is used.
func accounts(get Settings) []Credential {
	var found []Credential
	for _, name := range accountsNames {
		if key := get.value(name); key != "" {
			found = append(found, newCredential(name, &secrets{style: serviceAccount, key: key}))
		}
	}
	return found
}

// gatewayToken is what authenticates calls to Cloudflare's gateway, "" where it is
// not in between or asks for nothing.
func (pl Place) gatewayToken(get Settings) (string, error) {
	if !pl.Chained {
		return "", nil
	}
	key := get.value(chainKeyName)
	if key == "" || isProviderKey(key) {
		return "", nil
	}
	return key, checkKey(chainKeyName, key)
}

// lent reports whether CLOUDFLARE_AI_GATEWAY_API_KEY is this provider's own key. The
// Workers edition of this program has it so, for the one provider that
// CF_AI_GATEWAY_MODEL names, which is Anthropic where it is not set.
func (pl Place) lent(get Settings) bool {
	if !isProviderKey(get.value(chainKeyName)) || pl.provider.style == aws || pl.provider.style == serviceAccount {
		return false
	}
	owner, _, _ := strings.Cut(get.value(chainModelName), "/")
	if owner == "" {
		owner = "anthropic"
	}
	p, ok := Lookup(owner)
	return ok && p.Name == pl.provider.Name
}

// isProviderKey reports whether a key begins as those of providers do, and not as
// Cloudflare's tokens.
func isProviderKey(key string) bool {
	for _, prefix := range []string{"sk-", "gsk_", "xai-", "csk-", "pplx-", "hf_", "r8_", "AIza"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// maxKey bounds a key, in bytes. Session tokens of AWS have no fixed size; those
// seen are below 2 KiB.
const maxKey = 8 << 10

func checkKey(name, key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("%s is too long for a key; set it again with: moltworker secret put %s", name, name)
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("%s holds a character no key has; set it again with: moltworker secret put %s", name, name)
		}
	}
	return nil
}
