// Package bucket is what the source and the sink s3 have in common: a client made of a
// configuration, requests that are made again within bounds and in sight, lists of
// objects, reads that go on behind a broken connection, and uploads of which nothing can
// be seen until they are whole. Every error says which object it is about and what to do,
// and none holds a secret.
package bucket

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/rowmill/rowmill/pipeline"
)

// Config says where a bucket is, and who asks.
type Config struct {
	Bucket   string
	Endpoint string
	Region   string
	Profile  string
	// PathStyle puts the name of the bucket into the path; nil does so with an Endpoint.
	PathStyle *bool
	Anonymous bool
}

// Validate notes what is wrong, by key. It never repeats an endpoint that may hold a
// password.
func (c Config) Validate(problems *pipeline.Problems) {
	if c.Bucket == "" {
		problems.Addf("bucket", "name the bucket")
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			problems.Addf("endpoint", "must be the address of a server, like http://127.0.0.1:9000")
		case u.User != nil:
			problems.Addf("endpoint", "must not hold a user or a password; keys stand in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
	}
	if c.Anonymous && c.Profile != "" {
		problems.Addf("anonymous", "asks without keys, and `profile` names some; leave out one of them")
	}
}

// Bucket is a bucket that can be asked. It is safe for concurrent use.
type Bucket struct {
	name   string
	log    *slog.Logger
	client *s3.Client // nil until connect has made one
	config Config
	env    pipeline.Env

	once      sync.Once
	transport *http.Transport // nil where the client is the program's own
	failure   error

	first, most time.Duration // how long is waited for another attempt
	idle        time.Duration // after which a connection on which nothing moves is given up
	chunk       int64         // how much is fetched with one request
	piece       int64         // how much one request of an upload in pieces holds
}

// The waits between attempts begin with firstWait and double up to mostWait.
const (
	firstWait = 200 * time.Millisecond
	mostWait  = 5 * time.Second
	idleLimit = time.Minute
)

// Open returns the bucket of a configuration. It asks nobody and reads no file yet.
func Open(c Config, env pipeline.Env) *Bucket {
	return &Bucket{name: c.Bucket, log: env.Log(), config: c, env: env, first: firstWait, most: mostWait, idle: idleLimit, chunk: chunkBytes, piece: pieceBytes}
}

// Of returns a bucket that is asked through a program's own client. Its retries are set
// aside: attempts are counted here.
func Of(client *s3.Client, name string, env pipeline.Env) *Bucket {
	b := Open(Config{Bucket: name}, env)
	b.client = client
	return b
}

// Impatient has attempts follow each other quickly, and asks for 64 KiB at once, for tests.
func (b *Bucket) Impatient() *Bucket {
	b.first, b.most, b.chunk, b.piece = time.Millisecond, 4*time.Millisecond, 64<<10, 64<<10
	return b
}

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.name }

// URL names an object in messages and places.
func (b *Bucket) URL(key string) string { return "s3://" + b.name + "/" + key }

// Close lets go of connections that are not used.
func (b *Bucket) Close() {
	if b.transport != nil {
		b.transport.CloseIdleConnections()
	}
}

// connect makes the client with the first request.
func (b *Bucket) connect(ctx context.Context) (*s3.Client, error) {
	b.once.Do(func() {
		if b.client == nil {
			b.client, b.failure = b.build(ctx)
		}
	})
	return b.client, b.failure
}

// build makes the client: what the configuration says, then the environment that the
// program gives, then the SDK's own chain (files, roles).
func (b *Bucket) build(ctx context.Context) (*s3.Client, error) {
	if err := b.halfKey(); err != nil {
		return nil, err
	}
	loaded, err := config.LoadDefaultConfig(ctx, b.settings()...)
	if err != nil {
		return nil, pipeline.Fatal("s3_config", fmt.Errorf("s3: the AWS configuration cannot be used; check `profile` and the files in ~/.aws: %w", err))
	}
	if loaded.Region == "" {
		loaded.Region = "us-east-1" // where all others are told from, and what servers of one's own take
	}
	httpClient := http.DefaultClient
	if buildable, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
		// Its transport, with the certificates of AWS_CA_BUNDLE, but one that can be closed.
		b.transport = buildable.GetTransport()
		b.transport.MaxIdleConnsPerHost = 64
		httpClient = &http.Client{Transport: b.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.HTTPClient = httpClient
		if endpoint := b.endpoint(); endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
		o.UsePathStyle = o.BaseEndpoint != nil
		if b.config.PathStyle != nil {
			o.UsePathStyle = *b.config.PathStyle
		}
	}), nil
}

// halfKey is an error where one half of a key is given: the SDK passes by it in silence, and
// asks as somebody else.
func (b *Bucket) halfKey() error {
	const id, secret = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
	there, missing := id, secret
	if b.env.Lookup(id) == "" {
		there, missing = secret, id
	}
	if b.config.Anonymous || b.config.Profile != "" || b.env.Lookup(there) == "" || b.env.Lookup(missing) != "" {
		return nil
	}
	return pipeline.Fatal("s3_credentials", fmt.Errorf("s3: %s is set, and %s is not: set both, or neither", there, missing))
}

func (b *Bucket) settings() []func(*config.LoadOptions) error {
	c, env := b.config, b.env
	settings := []func(*config.LoadOptions) error{config.WithHTTPClient(awshttp.NewBuildableClient()), config.WithLogger(logging.Nop{})}
	if region := cmp.Or(c.Region, env.Lookup("AWS_REGION"), env.Lookup("AWS_DEFAULT_REGION")); region != "" {
		settings = append(settings, config.WithRegion(region))
	}
	if profile := cmp.Or(c.Profile, env.Lookup("AWS_PROFILE")); profile != "" && !c.Anonymous {
		settings = append(settings, config.WithSharedConfigProfile(profile))
	}
	id, secret := env.Lookup("AWS_ACCESS_KEY_ID"), env.Lookup("AWS_SECRET_ACCESS_KEY")
	switch {
	case c.Anonymous:
		settings = append(settings, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	case c.Profile == "" && id != "" && secret != "":
		settings = append(settings, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(id, secret, env.Lookup("AWS_SESSION_TOKEN"))))
	}
	return settings
}

func (b *Bucket) endpoint() string {
	return cmp.Or(b.config.Endpoint, b.env.Lookup("AWS_ENDPOINT_URL_S3"), b.env.Lookup("AWS_ENDPOINT_URL"))
}

// ours are the options of every request: no waiting out of sight, and no checksums that
// servers other than Amazon's refuse.
func ours(o *s3.Options) {
	o.Retryer = aws.NopRetryer{}
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}
