"""Figures for print: what happened in one run or several, side by side."""
