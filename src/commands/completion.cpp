#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "commands/commands.h"

namespace recite {

namespace {

std::string verb_names() {
  std::vector<std::string> names;
  for (const Verb& verb : verbs()) names.push_back(verb.name);
  return fmt::format("{}", fmt::join(names, " "));
}

std::string words_of(const Verb& verb) {
  std::string words;
  for (const OptionWord& option : option_words(verb)) words += (words.empty() ? "" : " ") + option.word;
  return words;
}

// "plan:--train.precision) values='auto float32 ...' ;;" for each option of few values; '-' for any other value.
std::string value_cases() {
  std::string cases;
  for (const Verb& verb : verbs()) {
    for (const OptionWord& option : option_words(verb)) {
      if (!option.takes_value) continue;
      const std::string values = option.values.empty() ? "-" : fmt::format("{}", fmt::join(option.values, " "));
      cases += fmt::format("    {}:{}) values='{}' ;;\n", verb.name, option.word, values);
    }
  }
  return cases;
}

std::string word_cases() {
  std::string cases;
  for (const Verb& verb : verbs()) {
    std::string words = words_of(verb);
    if (verb.name == "completion") words = "bash zsh " + words;
    cases += fmt::format("    {}) words='{}' ;;\n", verb.name, words);
  }
  return cases;
}

// bash breaks words at '=': "--a=b" arrives as "--a", "=", "b".
constexpr const char* bash_script = R"sh(_recite_values() {{
  local values=
  case "$1:$2" in
{value_cases}  esac
  printf '%s' "$values"
}}

_recite_words() {{
  local words=
  case "$1" in
{word_cases}  esac
  printf '%s' "$words"
}}

_recite() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" verb="${{COMP_WORDS[1]}}" values
  COMPREPLY=()
  if [ "$COMP_CWORD" -le 1 ] || {{ [ "$COMP_CWORD" = 2 ] && [ "$verb" = help ]; }}; then
    COMPREPLY=($(compgen -W '{verbs} help' -- "$current"))
    return
  fi
  if [ "$current" = = ]; then current=
  elif [ "$previous" = = ]; then previous="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
  values=$(_recite_values "$verb" "$previous")
  if [ -n "$values" ] && [ "$values" != - ]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif [ "$values" = - ] || [[ "$current" != -* ]]; then
    COMPREPLY=($(compgen -f -- "$current"))
    [ "$verb" != completion ] || COMPREPLY=($(compgen -W 'bash zsh' -- "$current"))
  else
    COMPREPLY=($(compgen -W "$(_recite_words "$verb")" -- "$current"))
  fi
}}
)sh";

std::string bash_functions() {
  return fmt::format(bash_script, fmt::arg("value_cases", value_cases()), fmt::arg("word_cases", word_cases()),
                     fmt::arg("verbs", verb_names()));
}

std::string bash_completion() {
  return bash_functions() + "\ncomplete -o filenames -F _recite recite ./launch/recite\n";
}

// zsh runs the functions written for bash.
std::string zsh_completion() {
  return "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n\n" + bash_functions() +
         "\ncomplete -o filenames -F _recite recite\n";
}

}  // namespace

int completion_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("completion", arguments);
  if (given.help) return static_cast<int>(ExitCode::done);
  const std::string& shell = given.operands.front();
  if (shell != "bash" && shell != "zsh") {
    throw UsageError(
        fmt::format("no completion for '{}'{}; allowed: bash, zsh", shell, did_you_mean(shell, {"bash", "zsh"})));
  }
  fmt::print("{}", shell == "bash" ? bash_completion() : zsh_completion());
  return static_cast<int>(ExitCode::done);
}

}  // namespace recite
