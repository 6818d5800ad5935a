// Dotenv takes the key from a .env file, which git does not see:
//
//	LLM_PROVIDER=openai
//	LLM_MODEL=gpt-4.1-mini
//	OPENAI_API_KEY=sk-...
//	OPENAI_BASE_URL=http://localhost:11434/v1   (only for another address)
//
// The library reads no file and no environment on its own: the program decides
// what it gets to see. Without a .env the simulator answers, which needs no key.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/joho/godotenv"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/stages/llm"
)

// Question and Answer are what the stage takes and gives.
type (
	Question struct {
		Text string `json:"text"`
	}
	Answer struct {
		Answer string `json:"answer"`
	}
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "dotenv:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	// What the environment has already wins.
	if err := godotenv.Load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf(".env: %w", err)
	}
	config := llm.Config{
		Provider: cmp.Or(os.Getenv("LLM_PROVIDER"), "simulator"),
		Model:    os.Getenv("LLM_MODEL"),
		BaseURL:  os.Getenv("OPENAI_BASE_URL"),
		APIKey:   pipeline.Secret(os.Getenv("OPENAI_API_KEY")), // appears in no log and no error
		Prompt:   "{{.text}}",
	}
	stage, err := llm.New(config, pipeline.Env{})
	if err != nil {
		return err
	}
	model, err := engine.Bind[Question, Answer](stage, pipeline.StepOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()

	answer, err := model.Do(ctx, Question{"Why is the sky blue?"})
	if err != nil {
		return err
	}
	fmt.Println(answer.Answer)
	return nil
}
