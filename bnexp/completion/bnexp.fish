# Completion of bnexp in fish. Written by `bnexp --install-completion fish`.

function __bnexp_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    $program __complete fish $words "$current" 2>/dev/null
end

complete -c bnexp -f -k -a '(__bnexp_complete)'
