#compdef bnexp
# Completion of bnexp in zsh. Written by `bnexp --install-completion zsh`; may be sourced or stand in fpath.

_bnexp() {
    local program=${(Q)words[1]} text about
    local -a done open
    [[ $program == '~/'* ]] && program=$HOME/${program:2}
    local current=${(Q)PREFIX} home=
    compset -P '*[~]/' && home='*[~]/'  # a tilde that is added by completion would be escaped
    while IFS=$'\t' read -r text about; do
        text=${text#${~home}}
        if [[ $text == *[=./] ]]; then
            open+=("${text//:/\\:}${about:+:$about}")
        else
            done+=("${text//:/\\:}${about:+:$about}")
        fi
    done < <("$program" __complete zsh "${(@Q)words[1,CURRENT-1]}" "$current" 2>/dev/null)
    _describe -V bnexp open -S '' -- done
}

if (( ! $+functions[compdef] )); then
    autoload -Uz compinit && compinit -i
fi
if [[ ${funcstack[1]} == _bnexp ]]; then
    _bnexp "$@"
else
    compdef _bnexp bnexp
fi
