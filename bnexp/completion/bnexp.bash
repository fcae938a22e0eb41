# Completion of bnexp in bash. Written by `bnexp --install-completion bash`.

_bnexp() {
    local program=${COMP_WORDS[0]} reply
    [[ $program == '~/'* ]] && program=$HOME/${program:2}
    COMPREPLY=()
    while IFS= read -r reply; do
        COMPREPLY+=("$reply")
    done < <("$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
}

complete -o nospace -F _bnexp bnexp
